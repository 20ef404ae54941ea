"""Attempts of jobs: the interface (start, observe, stop) behind which what carries them out may differ.

Separate because controllers use it, and each implementation stands on other things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from steno_kube.keys import Key
from steno_operator.control.reconcile.executor import ActionHandler
from steno_operator.plan.job.observed import ObservedJob

Start_contra = TypeVar("Start_contra", contravariant=True)
Stop_contra = TypeVar("Stop_contra", contravariant=True)


class Attempts(Protocol[Start_contra, Stop_contra]):
    """Starts, observes and stops attempts, as those two types of actions say."""

    @property
    def handlers(self) -> Mapping[type, ActionHandler]:
        """What carries out each type of action: `start`, `stop`, and whatever else plans ask of it."""
        ...

    async def start(self, key: Key, uid: str, action: Start_contra) -> None:
        """Start an attempt; one that was started before is success.

        Args:
            key: the job.
            uid: its UID.
            action: what to start.

        Raises:
            RefusedError: it is not let.
            RetryError: things are not as the plan had them.
        """
        ...

    def observe(self, observed: ObservedJob) -> ObservedJob:
        """Return a job's snapshot with what is known of its attempts beside the caches."""
        ...

    async def refresh(self, key: Key, uid: str) -> None:
        """Read a job's attempts live, into the caches: before a step that costs, or concludes from an absence.

        Args:
            key: the job.
            uid: its UID.
        """
        ...

    async def stop(self, key: Key, uid: str, action: Stop_contra) -> None:
        """End an attempt and remove what is left of it; one that is gone is success.

        Args:
            key: the job.
            uid: its UID.
            action: what to stop.
        """
        ...
