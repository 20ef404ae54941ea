"""Carriers: what carries a job's attempts out, as a raw job says it.

Separate because admission, the caches and the controllers of jobs all ask, each of a resource that is not parsed yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from steno_api.v1alpha1.common import DEFAULT_POOL

Mode = Literal["Job", "Pool"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carries attempts out."""

    mode: Mode
    pool: str | None = None
    """Name of the RuntimePool whose servers do."""

    @property
    def own_pods(self) -> int:
        """How many pods an attempt has of its own, whose accelerators its job asks for; a pool asks for its own."""
        return 0 if self.mode == "Pool" else 1


OWN_POD = Carrier("Job")


def resolve_carrier(execution: str | None, pool: str | None, chosen: Carrier | None) -> Carrier | None:
    """Return what carries out the attempts of a job.

    Args:
        execution: of its spec.
        pool: that its spec names; None: the default one.
        chosen: by its status.

    Returns:
        None with `execution: Auto` until the job's plan has chosen: nothing is started for it before that is written.
    """
    if execution == "Auto":
        return chosen
    return Carrier("Pool", pool or DEFAULT_POOL) if execution == "Pool" else OWN_POD


def carrier_of(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Carrier | None:
    """Return what carries out the attempts of a job, by its raw spec and status; see `resolve_carrier`."""
    chosen: Mapping[str, Any] | None = status.get("execution")
    named: Mapping[str, Any] = spec.get("poolRef") or {}
    choice = None if chosen is None else Carrier(chosen["mode"], chosen.get("pool"))
    return resolve_carrier(spec.get("execution"), named.get("name"), choice)
