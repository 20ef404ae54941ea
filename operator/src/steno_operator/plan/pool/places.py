"""The queue for a pool's places: sessions that have one come first, then the oldest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steno_api.v1alpha1.common import DEFAULT_POOL
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType

QueueOrder = tuple[bool, str, str]
"""Sort key of a session in the queue of its pool."""


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """What a session asks of its pool."""

    namespace: str
    name: str
    uid: str
    pool: str
    """Name of the pool, in the session's namespace."""
    created: str
    open: bool
    """It has not ended."""
    queued: bool
    """It is open, and nothing is known to keep it from a place."""
    needs_place: bool
    """It is open, accepted and admitted: the pool is to have a place for it."""
    has_place: bool
    """A client may connect, or is connected."""

    @property
    def order(self) -> QueueOrder:
        """The place in the pool's queue: sessions that have a place come first, then the oldest."""
        return not self.has_place, self.created, self.name

    def precedes(self, other: PlaceRequest) -> bool:
        """Tell whether this session gets a place of their pool before the other."""
        same_pool = (self.namespace, self.pool) == (other.namespace, other.pool)
        return self.queued and same_pool and self.order < other.order


def place_request(session: Mapping[str, Any]) -> PlaceRequest:
    """Return what a session asks of its pool, from the raw object."""
    metadata: Mapping[str, Any] = session["metadata"]
    spec: Mapping[str, Any] = session.get("spec") or {}
    pool_ref: Mapping[str, str] = spec.get("poolRef") or {}
    status: Mapping[str, Any] = session.get("status") or {}
    conditions: Sequence[Mapping[str, str]] = status.get("conditions") or ()
    by_type = {each["type"]: each["status"] for each in conditions}
    is_open = not status.get("completionTime") and "deletionTimestamp" not in metadata
    entry = [by_type.get(ConditionType.ACCEPTED), by_type.get(ConditionType.ADMITTED)]
    reachable = [by_type.get(ConditionType.ENDPOINT_READY), by_type.get(ConditionType.ACTIVE)]
    return PlaceRequest(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        pool=pool_ref.get("name") or DEFAULT_POOL,
        created=metadata.get("creationTimestamp", ""),
        open=is_open,
        queued=is_open and ConditionStatus.FALSE not in entry,
        needs_place=is_open and all(value == ConditionStatus.TRUE for value in entry),
        has_place=is_open and ConditionStatus.TRUE in reachable,
    )


def sessions_ahead(queue: Sequence[QueueOrder], request: PlaceRequest) -> int:
    """Return how many sessions get a place before this one; `queue` is that of its pool, in order."""
    return bisect_left(queue, request.order)
