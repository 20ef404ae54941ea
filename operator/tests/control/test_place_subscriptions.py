"""Whom a change of a session enqueues: those that are nearer to a place or may have lost it, and no others."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.session import places_ahead
from steno_operator.control.cache.subscriptions import Subscriptions

POOL = Key("RuntimePool", "ns", "default")
STATES = ("new", "waits", "ready", "refused", "over", "gone")


def key_of(name: str) -> Key:
    return Key("StreamSession", "ns", name)


class Sessions:
    """The sessions of one pool, and who is enqueued."""

    def __init__(self) -> None:
        self.enqueued: list[Key] = []
        self.state = ClusterState()
        self.version = 0
        Subscriptions(self.state, self.enqueued.append)

    def set(self, name: str, state: str) -> None:
        """Bring a session into a state; names order the age as well."""
        self.version += 1
        conditions = {
            "new": {},
            "waits": {"Accepted": "True", "Admitted": "True", "EndpointReady": "False"},
            "ready": {"Accepted": "True", "Admitted": "True", "EndpointReady": "True"},
            "refused": {"Accepted": "False"},
            "over": {"Complete": "True"},
        }
        found = self.uid(name)
        if state == "gone":
            if found is not None:
                self.state.resources.delete(found)
            return
        metadata = {
            "name": name, "namespace": "ns", "uid": found or f"{name}-{self.version}",
            "resourceVersion": str(self.version), "creationTimestamp": "2026-01-02T03:04:05Z",
        }  # fmt: skip
        status: dict[str, Any] = {
            "conditions": [{"type": kind, "status": value} for kind, value in conditions[state].items()]
        }
        if state == "over":
            status["completionTime"] = "2026-01-02T03:05:05Z"
        raw = {"kind": "StreamSession", "metadata": metadata, "spec": {}, "status": status}
        self.state.resources.upsert(raw)

    def uid(self, name: str) -> str | None:
        raw = self.state.resource(key_of(name))
        return None if raw is None else raw["metadata"]["uid"]

    def ahead(self, name: str) -> int:
        return places_ahead(self.state, key_of(name))


names = st.sampled_from("abcdef")
changes = st.lists(st.tuples(names, st.sampled_from(STATES)), max_size=30)


@settings(max_examples=500, deadline=None)
@given(changes, names, st.sampled_from(STATES))
def test_a_session_that_is_nearer_to_a_place_or_may_have_lost_it_is_enqueued(before, name, state):
    sessions = Sessions()
    now: dict[str, str] = {}
    for each, what in before:
        sessions.set(each, what)
        now[each] = what
    others = [each for each, what in now.items() if what not in ("over", "gone") and each != name]
    ahead = {each: sessions.ahead(each) for each in others}
    sessions.enqueued.clear()
    sessions.set(name, state)
    for each in others:
        difference = sessions.ahead(each) - ahead[each]
        lost_nothing = now[each] == "ready" and difference <= 0
        assert (key_of(each) in sessions.enqueued) == (difference != 0 and not lost_nothing), (each, difference)


def test_sessions_that_are_served_are_left_alone_when_another_ends():
    sessions = Sessions()
    for name in "abcdef":
        sessions.set(name, "ready")
    sessions.set("g", "waits")
    sessions.enqueued.clear()
    sessions.set("a", "over")
    assert sessions.enqueued == [key_of("a"), POOL, key_of("g")]
