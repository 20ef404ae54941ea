"""What a tenant's quota says to a job or a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Admission:
    """Whether it may start."""

    state: Literal["NotRequired", "Admitted", "Waiting", "Refused"] = "NotRequired"
    reason: str = ""
    message: str = ""
    position: int | None = None
    """Place in the tenant's queue, from 1."""
