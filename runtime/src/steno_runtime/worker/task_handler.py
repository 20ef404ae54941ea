"""The task handler interface: what differs between kinds of task. `run` has the steps that are the same for all.

A new kind of task is one more handler, registered in `main`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import Task
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback
from steno_runtime.publishing import UNPROVEN, Document, Format, Proofs


@dataclass(frozen=True)
class AttemptContext:
    """One attempt of a task, and what it offers its handler.

    Attributes:
        task: what is to be done.
        check: raises `Stopped` once the worker was asked to stop; called between pieces of work.
        on_progress: called with the progress.
        scratch: an existing directory of this attempt, which is removed at its end.
        fetch: returns a local file with the source's bytes, which are fetched once; its argument is the share of the
            stage `Fetching` that this takes.
        seconds: returns the seconds since the attempt's start.
        proofs: of the results.
        turn: is held while models work that the attempts of this process do not share: others wait for it, and may
            fetch meanwhile.
        on_brief: called once it is known that the attempt takes little memory and time.
    """

    task: Task
    check: Check
    on_progress: ProgressCallback
    scratch: Path
    fetch: Callable[[float], Path]
    seconds: Callable[[], float]
    proofs: Proofs = UNPROVEN
    turn: Callable[[], AbstractContextManager[None]] = nullcontext
    on_brief: Callable[[], object] = lambda: None


class TaskHandler(Protocol):
    """Does the work of one task."""

    @property
    def formats(self) -> Mapping[str, Format]:
        """Every format that can be published; `PRIMARY_FORMAT` is one of them."""
        ...

    @property
    def weights(self) -> Mapping[Stage, float]:
        """The stages of this task, in order, and about how long each takes relative to the others."""
        ...

    @property
    def remedy(self) -> str:
        """What the user can do when memory runs out, as the end of a sentence."""
        ...

    def run(self, attempt: AttemptContext) -> Document:
        """Do the work.

        Raises:
            WorkError: it failed.
            Stopped: the worker was asked to stop.
        """
        ...

    def load_existing(self, data: bytes, attempt: AttemptContext) -> Document:
        """Parse what another attempt of this job published in the primary format.

        Raises:
            ValueError: it does not belong to this job.
        """
        ...
