"""Objects of one type by UID and by owner: an older state never replaces a newer one, nor brings back the dead."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from steno_operator.control.kube.keys import is_newer

V = TypeVar("V")

_REMEMBERED = 10_000
"""Entries that are kept at most of what nothing else ends."""


class Recent(OrderedDict[str, str]):
    """A mapping that forgets its oldest entries."""

    def put(self, name: str, value: str = "") -> None:
        """Sets an entry and makes it the youngest."""
        self[name] = value
        self.move_to_end(name)
        if len(self) > _REMEMBERED:
            self.popitem(last=False)


def remove(index: defaultdict[Any, set[str]], name: Any, uid: str) -> None:
    """Takes `uid` out of a set of an index, and an empty set out of the index."""
    index[name].discard(uid)
    if not index[name]:
        del index[name]


@dataclass(frozen=True, slots=True)
class Shelved(Generic[V]):
    """One object."""

    uid: str
    owner: str
    """UID of the custom resource it belongs to."""
    namespace: str
    version: str
    value: V


class Shelf(Generic[V]):
    """What a watch tells of one type of object."""

    def __init__(self) -> None:
        self._items: dict[str, Shelved[V]] = {}
        self._of: defaultdict[str, set[str]] = defaultdict(set)
        self._deleted = Recent()

    def put(self, item: Shelved[V]) -> bool:
        """Takes in an object; returns whether it brought anything."""
        known = self._items.get(item.uid)
        if item.uid in self._deleted or (known is not None and not is_newer(item.version, known.version)):
            return False
        if known is not None and known.owner != item.owner:
            self._of[known.owner].discard(item.uid)
        self._items[item.uid] = item
        self._of[item.owner].add(item.uid)
        return True

    def drop(self, uid: str) -> Shelved[V] | None:
        """Forgets an object that is gone, and returns it."""
        self._deleted.put(uid)
        item = self._items.pop(uid, None)
        if item is not None:
            remove(self._of, item.owner, uid)
        return item

    def missing(self, namespace: str | None, uids: Iterable[str], version: str) -> list[str]:
        """Returns the UIDs of the namespace (None: of all) that a full list as of `version` did not have."""
        listed = set(uids)
        return [
            uid
            for uid, item in self._items.items()
            if uid not in listed
            and namespace in (None, item.namespace)
            and not is_newer(item.version, version)  # made by us after the list was
        ]

    def get(self, uid: str) -> Shelved[V] | None:
        """Returns the object of that UID."""
        return self._items.get(uid)

    def of(self, owner: str) -> list[Shelved[V]]:
        """Returns what belongs to a custom resource."""
        return [self._items[uid] for uid in self._of.get(owner, ())]
