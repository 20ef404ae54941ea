"""ObjectCache: client-go's informer store, with indexes and event handlers, for objects of one type.

Versions decide: an older state never replaces a newer one, and nothing brings back an object that was deleted. So the
watches, live reads and the answers to our own writes may arrive in any order.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from steno_kube.keys import is_newer

T = TypeVar("T")
E = TypeVar("E")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_TOMBSTONES = 10_000
"""Deleted objects that are remembered at most."""


class BoundedDict(OrderedDict[K, V]):
    """A mapping that forgets its oldest entries."""

    def __init__(self, capacity: int = _TOMBSTONES) -> None:
        super().__init__()
        self._capacity = capacity

    def __setitem__(self, key: K, value: V) -> None:
        """Set an entry and make it the youngest."""
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._capacity:
            self.popitem(last=False)


class Notifier(Generic[E]):
    """Event handlers, called in the order in which they were added."""

    def __init__(self) -> None:
        self._handlers: list[Callable[[E], None]] = []

    def add_event_handler(self, handler: Callable[[E], None]) -> None:
        """Have `handler` called with every event from now on, after the change was made."""
        self._handlers.append(handler)

    def notify(self, event: E) -> None:
        """Call every handler."""
        for handler in self._handlers:
            handler(event)


class OwnerKey(NamedTuple):
    """The owner of an object: a UID is only believed within the namespace of what names it, since anyone may write it.

    Every lookup of children takes one, so that none can leave the namespace out.
    """

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One object as last observed."""

    uid: str
    namespace: str
    """Empty for a cluster-scoped object."""
    version: str
    value: T
    owner: OwnerKey | None = None
    owner_name: str = ""
    """What the object calls its owner, which is not believed when the resource of that UID has another name."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What became of one object; both states, possibly of two incarnations of one name, when it was updated."""

    old: Entry[T] | None
    new: Entry[T] | None

    @property
    def latest(self) -> Entry[T]:
        """The state after the change, or the last one before a deletion."""
        entry = self.new or self.old
        assert entry is not None  # noqa: S101 - a change has at least one of them
        return entry


@dataclass(frozen=True, eq=False)
class Index(Generic[T, K]):
    """An indexer: the keys under which an object is found."""

    keys: Callable[[Entry[T]], Iterable[K]]


BY_OWNER: Index[Any, OwnerKey] = Index(lambda entry: () if entry.owner is None else (entry.owner,))
"""Objects by the controller, or the resource in their labels, that they belong to."""


class ObjectCache(Notifier[Change[T]], Generic[T]):
    """Objects of one type by UID and by index; a sink of watches. Not thread-safe: for the event loop only."""

    def __init__(
        self,
        read: Callable[[dict[str, Any]], Entry[T]],
        *indexes: Index[T, Any],
        unique: Index[T, Any] | None = None,
        capacity: int | None = None,
    ) -> None:
        """Make an empty cache.

        Args:
            read: makes an entry of a raw object.
            indexes: what `by_index` may be asked for.
            unique: an index, of `indexes` or not, under each key of which only the newest object is kept.
            capacity: objects that are kept at most, for objects whose deletion is not observed; the oldest go first.
        """
        super().__init__()
        self._read = read
        self._unique = unique
        self._capacity = capacity
        self._entries: OrderedDict[str, Entry[T]] = OrderedDict()
        every = dict.fromkeys([*indexes, *((unique,) if unique is not None else ())])
        # Of each index, by key: UIDs, the one that changed last at the end.
        self._indexes: dict[Index[T, Any], defaultdict[Any, dict[str, None]]] = {
            index: defaultdict(dict) for index in every
        }
        self._tombstones: BoundedDict[str, None] = BoundedDict()

    def upsert(self, raw: dict[str, Any], /) -> None:
        """Add or update an object, unless it was deleted or a state as new is known."""
        entry = self._read(raw)
        old = self._entries.get(entry.uid) or self._namesake(entry)
        if entry.uid in self._tombstones or (old is not None and not is_newer(entry.version, old.version)):
            return
        if old is not None:
            self._remove(old)
        self._entries[entry.uid] = entry
        for index, found in self._indexes.items():
            for key in index.keys(entry):
                found[key][entry.uid] = None
        if self._capacity is not None and len(self._entries) > self._capacity:
            self._remove(next(iter(self._entries.values())))
        self.notify(Change(old, entry))

    def delete(self, uid: str, /) -> None:
        """Forget an object that is gone, and let no late state of it bring it back."""
        self._tombstones[uid] = None
        old = self._entries.get(uid)
        if old is not None:
            self._remove(old)
            self.notify(Change(old, None))

    def forget(self, namespace: str, uids: Collection[str] | None = None, /) -> None:
        """Forget objects of a namespace that may not be read any more; unlike deleted ones they may return.

        Args:
            namespace: theirs.
            uids: which of them; None: all.
        """
        for old in [each for each in self if each.namespace == namespace and (uids is None or each.uid in uids)]:
            self._remove(old)
            self.notify(Change(old, None))

    def replace(self, uids: Collection[str], version: str, /, namespace: str | None = None) -> None:
        """Delete what a full list did not have.

        Args:
            uids: of the objects in the list.
            version: `resourceVersion` of the list: what is newer was created by us after it was made.
            namespace: the one that was listed; None for all.
        """
        self.replace_among([each for each in self if namespace in (None, each.namespace)], uids, version)

    def replace_among(self, entries: Iterable[Entry[T]], uids: Collection[str], version: str) -> None:
        """Delete those of `entries` that a list of just them did not have.

        Args:
            entries: what a complete list would have had.
            uids: of the objects in the list.
            version: `resourceVersion` of the list: what is newer was created by us after it was made.
        """
        gone = [each.uid for each in entries if each.uid not in uids and not is_newer(each.version, version)]
        for uid in gone:
            self.delete(uid)

    def get(self, uid: str) -> Entry[T] | None:
        """Return the object of that UID."""
        return self._entries.get(uid)

    def by_index(self, index: Index[T, K], key: K) -> list[Entry[T]]:
        """Return the objects under a key of an index, the one that changed last at the end."""
        return [self._entries[uid] for uid in self._indexes[index].get(key, ())]

    def __iter__(self) -> Iterator[Entry[T]]:
        """Iterate over a copy of all entries."""
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def _namesake(self, entry: Entry[T]) -> Entry[T] | None:
        if self._unique is None:
            return None
        found = (self.by_index(self._unique, key) for key in self._unique.keys(entry))
        return next((each for entries in found for each in entries), None)

    def _remove(self, entry: Entry[T]) -> None:
        del self._entries[entry.uid]
        for index, found in self._indexes.items():
            for key in index.keys(entry):
                found[key].pop(entry.uid, None)
                if not found[key]:
                    del found[key]
