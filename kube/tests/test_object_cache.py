"""Whatever order states, deletions and lists come in, the cache has the newest state of what exists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_kube.object_cache import BY_OWNER, BoundedDict, Change, Entry, Index, ObjectCache, OwnerKey


def read(raw: dict[str, Any]) -> Entry[str]:
    metadata = raw["metadata"]
    owner = OwnerKey(metadata["namespace"], raw["owner"]) if raw.get("owner") else None
    return Entry(metadata["uid"], metadata["namespace"], metadata["resourceVersion"], raw["name"], owner)


def made(uid: str, version: int, *, name: str = "", namespace: str = "ns", owner: str = "") -> dict[str, Any]:
    metadata = {"uid": uid, "namespace": namespace, "resourceVersion": str(version)}
    return {"metadata": metadata, "name": name or f"{uid}-{version}", "owner": owner}


BY_NAME: Index[str, str] = Index(lambda entry: (entry.value,))


@pytest.fixture
def cache():
    return ObjectCache(read, BY_OWNER)


@pytest.fixture
def changes(cache):
    found: list[Change[str]] = []
    cache.add_event_handler(found.append)
    return found


def test_an_object_is_found_by_its_owner_in_its_own_namespace_alone(cache):
    cache.upsert(made("a", 1, owner="u1"))
    cache.upsert(made("b", 2, owner="u1", namespace="elsewhere"))
    cache.upsert(made("c", 3))
    assert [entry.uid for entry in cache.by_index(BY_OWNER, OwnerKey("ns", "u1"))] == ["a"]
    cache.upsert(made("a", 4, owner="u2"))
    assert cache.by_index(BY_OWNER, OwnerKey("ns", "u1")) == []
    cache.delete("a")
    assert cache.by_index(BY_OWNER, OwnerKey("ns", "u2")) == []


def test_handlers_hear_both_states_once_and_nothing_of_what_changes_nothing(cache, changes):
    cache.upsert(made("a", 1))
    cache.upsert(made("a", 1))
    cache.upsert(made("a", 2))
    cache.delete("a")
    cache.delete("a")
    cache.upsert(made("a", 3))
    states = [(each.old and each.old.version, each.new and each.new.version) for each in changes]
    assert states == [(None, "1"), ("1", "2"), ("2", None)]


def test_a_unique_index_keeps_the_newest_of_one_name():
    cache = ObjectCache(read, unique=BY_NAME)
    changes: list[Change[str]] = []
    cache.add_event_handler(changes.append)
    cache.upsert(made("a", 1, name="talk"))
    cache.upsert(made("b", 3, name="talk"))
    cache.upsert(made("a", 2, name="talk"))
    assert [entry.uid for entry in cache.by_index(BY_NAME, "talk")] == ["b"]
    assert [(each.old and each.old.uid, each.new and each.new.uid) for each in changes] == [(None, "a"), ("a", "b")]
    cache.delete("a")
    assert cache.get("b") is not None


def test_a_capacity_lets_the_oldest_go():
    cache = ObjectCache(read, capacity=2)
    for version, uid in enumerate("abac", start=1):
        cache.upsert(made(uid, version))
    assert [entry.uid for entry in cache] == ["a", "c"]
    recent = BoundedDict(2)
    for key in "abac":
        recent[key] = key
    assert list(recent) == ["a", "c"]


events = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from("uuud")), max_size=20)


@given(events, st.integers(1, 9), st.sets(st.sampled_from("abc")))
def test_in_any_order_the_newest_state_of_what_was_not_deleted_remains(events, listed_at, listed):
    cache, newest, deleted = ObjectCache(read, BY_OWNER), dict[str, int](), set[str]()
    for uid, version, what in events:
        if what == "d":
            cache.delete(uid)
            deleted.add(uid)
        else:
            cache.upsert(made(uid, version, owner="u"))
            newest[uid] = max(version, newest.get(uid, 0))
    expected = {uid: str(version) for uid, version in newest.items() if uid not in deleted}
    assert {entry.uid: entry.version for entry in cache} == expected
    assert {entry.uid for entry in cache.by_index(BY_OWNER, OwnerKey("ns", "u"))} == expected.keys()
    cache.replace(listed, str(listed_at), namespace="elsewhere")
    assert {entry.uid for entry in cache} == expected.keys()
    cache.replace(listed, str(listed_at), namespace="ns")
    kept = {uid for uid, version in expected.items() if uid in listed or int(version) > listed_at}
    assert {entry.uid for entry in cache} == kept


def test_k4_what_may_not_be_read_is_forgotten_and_may_come_back(cache, changes):
    cache.upsert(made("a", 1, owner="u1"))
    cache.upsert(made("b", 2, namespace="elsewhere"))
    cache.upsert(made("c", 3))
    changes.clear()
    cache.forget("ns", {"a"})
    assert [(change.old.uid, change.new) for change in changes] == [("a", None)]
    assert cache.by_index(BY_OWNER, OwnerKey("ns", "u1")) == []
    cache.forget("ns")
    assert [entry.uid for entry in cache] == ["b"]
    cache.upsert(made("a", 1, owner="u1"))
    assert [entry.uid for entry in cache.by_index(BY_OWNER, OwnerKey("ns", "u1"))] == ["a"]
