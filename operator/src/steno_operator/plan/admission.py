"""Between Tenants and what they let in: what a resource asks for, and what it is told. The same for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from steno_api.v1alpha1.reasons import Reason

State = Literal["NotRequired", "Admitted", "Waiting", "Refused"]
Meter = Literal["audio", "pages"]


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether something may be started for a resource, as far as its Tenant goes."""

    state: State
    reason: str = ""
    """Of `Waiting` and `Refused`: one of `Reason`."""
    message: str = ""
    """For people; the same as long as the reason is, but for edits of the Tenant."""
    position: int | None = None
    """Place in the tenant's queue, from 1."""
    tenant: str = ""
    """The Tenant that decided, or would have to; empty when none has the namespace."""
    entered: bool = False
    """The resource stands in a Tenant's ledger: what it used is not accounted for yet."""

    @property
    def open(self) -> bool:
        """Whether something may be started."""
        return self.state in ("NotRequired", "Admitted")


NOT_REQUIRED = Admission("NotRequired")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a resource holds while it is let in."""

    gpus: int = 0
    jobs: int = 0
    streams: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """What a resource has used, known when it ended."""

    audio_seconds: float = 0.0
    pages: int = 0


class Claimant(Protocol):
    """How a kind of resource asks its Tenant; the only thing that admission knows of a kind."""

    @property
    def queues(self) -> bool:
        """Whether it waits for its turn; otherwise it is refused where there is no room."""
        ...

    @property
    def meter(self) -> Meter:
        """The daily limit that holds it back."""
        ...

    def demand(self, gpus: int | None) -> Demand | None:
        """Returns what it holds, given the accelerators of its RuntimeProfile (None: it has none that exists)."""
        ...

    def bill(self, status: Mapping[str, Any]) -> Bill:
        """Returns what it used, from its raw status."""
        ...


class _Queued:
    """A job: waits for its turn, holds its profile's accelerators."""

    queues = True

    def __init__(self, meter: Meter) -> None:
        self.meter: Meter = meter

    def demand(self, gpus: int | None) -> Demand | None:
        return None if gpus is None else Demand(gpus=gpus, jobs=1)

    def bill(self, status: Mapping[str, Any]) -> Bill:
        summary: dict[str, Any] = status.get("summary") or {}
        return Bill(audio_seconds=summary.get("duration", 0.0), pages=summary.get("pages", 0))


class _Live:
    """A session: refused where there is no room, since a client does not wait; its GPUs are its pool's."""

    queues = False
    meter: Meter = "audio"

    def demand(self, gpus: int | None) -> Demand | None:  # noqa: ARG002 - one shape for all
        return Demand(streams=1)

    def bill(self, status: Mapping[str, Any]) -> Bill:
        figures: dict[str, Any] = status.get("figures") or {}
        return Bill(audio_seconds=figures.get("audioSeconds", 0.0))


CLAIMANTS: dict[str, Claimant] = {
    "TranscriptionJob": _Queued("audio"),
    "OCRJob": _Queued("pages"),
    "StreamSession": _Live(),
}
"""The kinds that ask for admission."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One resource of a Tenant as its plan sees it."""

    uid: str
    kind: str
    namespace: str
    name: str
    created: datetime
    claimant: Claimant
    demand: Demand | None
    """None while its RuntimeProfile does not exist: nothing can start."""
    priority: int = 0
    over: bool = False
    """It ended or is deleted: nothing will ever be started for it."""
    wants: bool = True
    """It is in the Tenant's namespaces, not held by its user, and names no other tenant. False where it is `over`."""
    live: bool = False
    """Something of it works, or may."""
    busy: bool = False
    """It is being worked on at this moment: something may be about to start on an admission that was read before."""
    bill: Bill = Bill()
    spoken: bool = False
    """A worker has published, which its status does not say yet: it is about to end, well, and to be accounted for."""


def waiting(
    reason: Reason, message: str, tenant: str, *, position: int | None = None, entered: bool = False
) -> Admission:
    """Returns the answer to something that waits for its turn."""
    return Admission("Waiting", str(reason), message, position, tenant, entered)


def refused(reason: Reason, message: str, tenant: str = "") -> Admission:
    """Returns the answer to something that its Tenant, or the lack of one, does not let in as it is."""
    return Admission("Refused", str(reason), message, tenant=tenant)
