"""Whom a change of a session wakes: those whose turn it may be now, and no others."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steno_operator.control.cache.pool_store import PoolStore
from steno_operator.control.kube.keys import Key

POOL = Key("RuntimePool", "ns", "default")
STATES = ("new", "waits", "ready", "refused", "over", "gone")


def session(name: str, state: str) -> tuple[Key, dict[str, Any] | None]:
    """Returns a session's key and resource; names order the age as well."""
    key = Key("StreamSession", "ns", name)
    conditions = {
        "new": {},
        "waits": {"Accepted": "True", "Admitted": "True", "EndpointReady": "False"},
        "ready": {"Accepted": "True", "Admitted": "True", "EndpointReady": "True"},
        "refused": {"Accepted": "False"},
        "over": {"Complete": "True"},
    }
    if state == "gone":
        return key, None
    metadata = {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": "2026-01-02T03:04:05Z"}
    status: dict[str, Any] = {
        "conditions": [{"type": kind, "status": value} for kind, value in conditions[state].items()]
    }
    if state == "over":
        status["completionTime"] = "2026-01-02T03:05:05Z"
    return key, {"metadata": metadata, "spec": {}, "status": status}


names = st.sampled_from("abcdef")
changes = st.lists(st.tuples(names, st.sampled_from(STATES)), max_size=30)


@settings(max_examples=500, deadline=None)
@given(changes, names, st.sampled_from(STATES))
def test_whoever_is_nearer_to_a_place_or_may_have_lost_it_is_woken(before, name, state):
    woken: list[Key] = []
    store = PoolStore(woken.append)
    now: dict[str, str] = {}
    for each, what in before:
        store.resource_changed(*session(each, what))
        now[each] = what
    others = [each for each, what in now.items() if what not in ("over", "gone") and each != name]
    ahead = {each: store.ahead(session(each, "new")[0]) for each in others}
    woken.clear()
    store.resource_changed(*session(name, state))
    for each in others:
        key = session(each, "new")[0]
        difference = store.ahead(key) - ahead[each]
        lost_nothing = now[each] == "ready" and difference <= 0
        assert (key in woken) == (difference != 0 and not lost_nothing), (each, difference)


def test_those_who_are_served_are_left_alone_when_another_ends():
    woken: list[Key] = []
    store = PoolStore(woken.append)
    for name in "abcdef":
        store.resource_changed(*session(name, "ready"))
    store.resource_changed(*session("g", "waits"))
    woken.clear()
    store.resource_changed(*session("a", "over"))
    assert woken == [POOL, Key("StreamSession", "ns", "g")]
