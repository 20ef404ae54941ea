"""Open sessions of each pool, as an etag and a list: a server that has the revision is not sent the list again.

A session is in the list from its creation until it ends or is deleted, and so before its token is issued: a token of a
session that is not listed is void.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from steno_api.server.reports import MAX_OPEN_SESSIONS
from steno_kube.keys import Key
from steno_kube.object_cache import Change, ObjectCache
from steno_operator.control.cache.resource_records import POOL_KIND, SESSIONS_BY_POOL, ResourceRecord, pool_of
from steno_operator.plan.pool.places import PlaceRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenList:
    """The open sessions of a pool."""

    revision: str
    """The same for the same sessions, whichever replica of the operator leads."""
    uids: tuple[str, ...]


class OpenSessions:
    """Lists of open sessions by pool, made when they are asked for and kept until one of the sessions changes."""

    def __init__(self, resources: ObjectCache[ResourceRecord]) -> None:
        self._resources = resources
        self._lists: dict[Key, OpenList | None] = {}
        resources.add_event_handler(self._on_change)

    def of_pool(self, pool: Key) -> OpenList | None:
        """Return the open sessions of a pool; None if more of them have a place than an answer can list."""
        if pool not in self._lists:
            self._lists[pool] = self._list(pool)
        return self._lists[pool]

    def _list(self, pool: Key) -> OpenList | None:
        found = (each.value.place for each in self._resources.by_index(SESSIONS_BY_POOL, pool))
        places = [place for place in found if place is not None]
        if len(places) > MAX_OPEN_SESSIONS:  # those that wait for a place have no token yet
            places = [place for place in places if place.has_place]
        if len(places) > MAX_OPEN_SESSIONS:
            log.warning("too many sessions to list: their tokens stay valid until they expire", extra=pool.log())
            return None
        uids = sorted(place.uid for place in places)
        return OpenList(_revision(uids), tuple(uids))

    def _on_change(self, change: Change[ResourceRecord]) -> None:
        old, new = (None if each is None else each.value for each in (change.old, change.new))
        places: tuple[PlaceRequest | None, PlaceRequest | None] = (old and old.place, new and new.place)
        if places[0] != places[1]:
            for place in places:
                if place is not None:
                    self._lists.pop(pool_of(place), None)
        if change.latest.value.key.kind == POOL_KIND and change.new is None:
            self._lists.pop(change.latest.value.key, None)


def _revision(uids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()[:32]
