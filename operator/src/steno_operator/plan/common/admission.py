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
    gpus: int = 0
    """Of `Admitted`: accelerators that it may hold."""

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
    def first(self) -> bool:
        """Whether it comes before whatever is not, be that older or of a higher priority."""
        ...

    @property
    def meter(self) -> Meter | None:
        """The daily limit that holds it back; None: none does."""
        ...

    @property
    def smaller(self) -> str:
        """What a user can do who asks for more than a limit allows at all."""
        ...

    def asks(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        """Tells whether it is to be started at all, from its raw spec and status."""
        ...

    def pods(self, spec: Mapping[str, Any]) -> int:
        """Returns how many pods it may come to have at a time, from its raw spec."""
        ...

    def demand(self, gpus: int | None) -> Demand | None:
        """Returns what it holds, given the accelerators of its pods (None: its RuntimeProfile does not exist)."""
        ...

    def bill(self, status: Mapping[str, Any]) -> Bill:
        """Returns what it used, from its raw status."""
        ...


class _Queued:
    """A job: waits for its turn, holds its profile's accelerators."""

    queues = True
    first = False
    smaller = "name another profile in a new resource"

    def __init__(self, meter: Meter) -> None:
        self.meter: Meter | None = meter

    def asks(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:  # noqa: ARG002 - one shape for all
        return not spec.get("suspend")

    def pods(self, spec: Mapping[str, Any]) -> int:  # noqa: ARG002
        return 1

    def demand(self, gpus: int | None) -> Demand | None:
        return None if gpus is None else Demand(gpus=gpus, jobs=1)

    def bill(self, status: Mapping[str, Any]) -> Bill:
        summary: dict[str, Any] = status.get("summary") or {}
        return Bill(audio_seconds=summary.get("duration", 0.0), pages=summary.get("pages", 0))


class _Live:
    """A session: refused where there is no room, since a client does not wait; its GPUs are its pool's."""

    queues = False
    first = False
    meter: Meter | None = "audio"
    smaller = ""

    def asks(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return True

    def pods(self, spec: Mapping[str, Any]) -> int:  # noqa: ARG002
        return 0

    def demand(self, gpus: int | None) -> Demand | None:  # noqa: ARG002
        return Demand(streams=1)

    def bill(self, status: Mapping[str, Any]) -> Bill:
        figures: dict[str, Any] = status.get("figures") or {}
        return Bill(audio_seconds=figures.get("audioSeconds", 0.0))


class _Pool:
    """A pool: first in line, since a client waits behind it.

    From its first session to the end of its last server it holds the accelerators of all servers it may come to have.
    """

    queues = True
    first = True
    meter: Meter | None = None
    smaller = "lower the pool's maxReplicas"

    def asks(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        fixed = spec.get("replicas")
        return bool(fixed if fixed is not None else spec.get("minReplicas") or status.get("sessions"))

    def pods(self, spec: Mapping[str, Any]) -> int:
        fixed = spec.get("replicas")
        return int(spec.get("maxReplicas", 1) if fixed is None else fixed)

    def demand(self, gpus: int | None) -> Demand | None:
        return None if gpus is None else Demand(gpus=gpus)

    def bill(self, status: Mapping[str, Any]) -> Bill:  # noqa: ARG002
        return Bill()


CLAIMANTS: dict[str, Claimant] = {
    "TranscriptionJob": _Queued("audio"),
    "OCRJob": _Queued("pages"),
    "StreamSession": _Live(),
    "RuntimePool": _Pool(),
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
