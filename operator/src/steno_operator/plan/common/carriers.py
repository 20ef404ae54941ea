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


def carrier_of(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Carrier | None:
    """Return what carries out the attempts of a job, by its raw spec and status.

    Returns:
        None with `execution: Auto` until the job's plan has chosen: nothing is started for it before that is written.
    """
    execution = spec.get("execution")
    if execution == "Auto":
        chosen: Mapping[str, Any] | None = status.get("execution")
        return None if chosen is None else Carrier(chosen["mode"], chosen.get("pool"))
    if execution != "Pool":
        return OWN_POD
    named: Mapping[str, Any] = spec.get("poolRef") or {}
    return Carrier("Pool", named.get("name") or DEFAULT_POOL)
