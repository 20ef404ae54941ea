"""The answers to servers' reports, and the part of the reports that reaches the planner, without an API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from steno_api.model import ObjectRef
from steno_api.server.reports import MAX_OPEN_SESSIONS, PoolAnswer, PoolReport, SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache import open_sessions
from steno_operator.control.cache.cluster_state import SERVERS_BY_NAME, ClusterState
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.control.reports.pools import take_pool_report
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.manifests import labels

from .objects import CREATED

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
OUTPUT = {"uri": "s3://t"}
PUBLISHED = SessionResult(reason=SessionEnd.CLIENT_ENDED, time=NOW, manifest="s3://t/ns/call/s1/manifest.json")
ENDED = {
    "completionTime": CREATED,
    "conditions": [{"type": "Complete", "status": "False", "reason": "Killed"}, {"type": "Failed", "status": "True"}],
}


def resource(kind: str, name: str, uid: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": "1", "creationTimestamp": CREATED}
    return {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}, **more}


class PoolHarness:
    """A pool and one of its servers, which reports."""

    def __init__(self) -> None:
        self.changes: list[Key] = []
        self.version = 1
        self.state = ClusterState()
        Subscriptions(self.state, self.changes.append)
        self.state.resources.upsert(resource("RuntimePool", "default", "pool1"))
        pod = resource("Pod", "server", "pod1", status={"phase": "Running"})
        pod["metadata"]["labels"] = {labels.POOL_UID: "pool1", labels.POOL: "default"}
        owner = {"kind": "ReplicaSet", "name": "default-pool-5d8f", "uid": "rs1", "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]
        self.state.servers.upsert(pod)

    def session(self, name: str = "call", uid: str = "s1", **more: Any) -> None:
        raw = resource("StreamSession", name, uid, **more)
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.state.resources.upsert(raw)

    def report(self, result: SessionResult | None = None, now: datetime = NOW) -> dict[str, Any]:
        session_report = SessionReport(
            session=ObjectRef(namespace="ns", name="call", uid="s1"),
            started=NOW,
            stats=SessionStats(audio_seconds=1),
            result=result,
        )
        report = PoolReport(pool=ObjectRef(namespace="ns", name="default", uid="pool1"), sessions=[session_report])
        caller = PodIdentity(namespace="ns", pod_name="server", pod_uid="pod1")
        code, answer = take_pool_report(self.state, caller, report, now)
        assert code == 200
        return {"end": [], "known": [], **answer}


@pytest.fixture
def pool():
    return PoolHarness()


def test_one_that_came_back_to_another_server_ends_with_its_time(pool):
    """A server counts from its own client's coming, the session from the first one's."""
    began = (NOW - timedelta(seconds=99)).isoformat()
    pool.session(spec={"maxDurationSeconds": 100}, status={"startTime": began})
    assert pool.report()["end"] == []
    answer = pool.report(now=NOW + timedelta(seconds=1))
    assert answer["end"] == [{"uid": "s1", "reason": "MaxDuration"}]
    assert pool.state.connections.get("s1") is not None, "it is connected until it has ended"
    assert pool.report(PUBLISHED, now=NOW + timedelta(seconds=1))["end"] == []
    assert pool.state.connections.get("s1").report.result == PUBLISHED


def test_results_that_come_late_reach_the_planner_and_are_asked_for_until_the_status_has_them(pool):
    pool.session(spec={"output": OUTPUT}, status=ENDED)
    pool.changes.clear()
    assert pool.report(PUBLISHED)["known"] == []
    assert pool.changes == [Key("StreamSession", "ns", "call")]
    assert pool.state.connections.get("s1").report.result == PUBLISHED
    pool.session(spec={"output": OUTPUT}, status={**ENDED, "results": {"manifest": PUBLISHED.manifest}})
    assert pool.report(PUBLISHED)["known"] == ["s1"]
    assert pool.state.connections.get("s1") is None


def test_other_late_reports_change_nothing(pool):
    pool.session(spec={"output": OUTPUT}, status=ENDED)
    duplicate = PUBLISHED.model_copy(update={"reason": SessionEnd.DUPLICATE})
    for late in (duplicate, PUBLISHED.model_copy(update={"manifest": None})):
        assert pool.report(late)["known"] == ["s1"]
        assert pool.state.connections.get("s1") is None
    assert pool.report()["end"] == [{"uid": "s1", "reason": "Deleted"}]


def test_l7_a_server_does_not_speak_for_another_pool():
    """The UID is that of the server's own pool, the name another's."""
    harness = PoolHarness()
    harness.session(spec={"poolRef": {"name": "other"}})
    harness.state.resources.upsert(resource("RuntimePool", "other", "pool2"))
    said = SessionReport(session=ObjectRef(namespace="ns", name="call", uid="s1"), started=NOW, stats=SessionStats())
    report = PoolReport(pool=ObjectRef(namespace="ns", name="other", uid="pool1"), sessions=[said])
    code, _ = take_pool_report(harness.state, PodIdentity("ns", "server", "pod1"), report, NOW)
    assert code == 403
    assert harness.state.connections.get("s1") is None


@pytest.mark.parametrize(
    "change",
    [
        {"ownerReferences": []},
        {"ownerReferences": [{"kind": "ReplicaSet", "name": "mine-5d8f", "uid": "rs1", "controller": True}]},
        {"ownerReferences": [{"kind": "Job", "name": "default-pool-5d8f", "uid": "rs1", "controller": True}]},
        {"labels": {labels.POOL_UID: "pool1", labels.POOL: "other"}},
    ],
)
def test_h3_a_pod_that_only_bears_the_labels_is_no_server(pool, change):
    raw = resource("Pod", "mine", "pod2", status={"phase": "Running"})
    raw["metadata"] |= {"labels": {labels.POOL_UID: "pool1", labels.POOL: "default"}, **change}
    pool.state.servers.upsert(raw)
    report = PoolReport(pool=ObjectRef(namespace="ns", name="default", uid="pool1"), sessions=[])
    assert take_pool_report(pool.state, PodIdentity("ns", "mine", "pod2"), report, NOW)[0] == 403
    owner = OwnerKey("ns", "pool1")
    assert [server.uid for server in pool.state.owned(pool.state.servers, owner)] == ["pod1"]
    assert pool.state.servers.by_index(SERVERS_BY_NAME, ("ns", "mine")) == []


def ask(pool: PoolHarness, revision: str | None, now: datetime = NOW) -> dict[str, Any]:
    """Report nothing but the revision of the list that the server has; return the answer."""
    report = PoolReport(pool=ObjectRef(namespace="ns", name="default", uid="pool1"), sessions=[], revision=revision)
    return take_pool_report(pool.state, PodIdentity("ns", "server", "pod1"), report, now)[1]


def test_m6_servers_are_told_which_sessions_are_open_when_that_changed(pool):
    pool.session("call", "s1")
    pool.session("elsewhere", "s9", spec={"poolRef": {"name": "other"}})
    first = ask(pool, "")
    assert (first["open"], first["time"]) == (["s1"], "2026-01-02T04:00:00Z")
    same = ask(pool, first["revision"], NOW + timedelta(seconds=2))
    assert (same.keys() >= {"revision", "time"}, "open" in same) == (True, False)
    pool.session("call", "s1", status={"stats": {"audioSeconds": 5}})
    assert "open" not in ask(pool, first["revision"]), "nothing that matters changed"
    pool.session("second", "s2")
    assert ask(pool, first["revision"])["open"] == ["s1", "s2"]


@pytest.mark.parametrize("how", ["deleted", "being deleted", "ended", "replaced"])
def test_m6_a_session_is_off_the_list_at_once(pool, how):
    pool.session("call", "s1")
    pool.session("second", "s2")
    revision = ask(pool, "")["revision"]
    if how == "deleted":
        pool.state.resources.delete("s1")
    elif how == "ended":
        pool.session("call", "s1", status=ENDED)
    elif how == "replaced":  # by another of the same name
        pool.session("call", "s3")
    else:
        raw = resource("StreamSession", "call", "s1")
        raw["metadata"] |= {"resourceVersion": "99", "deletionTimestamp": CREATED}
        pool.state.resources.upsert(raw)
    assert ask(pool, revision)["open"] == (["s2", "s3"] if how == "replaced" else ["s2"])


def test_m6_servers_of_an_earlier_version_are_sent_no_list(pool):
    pool.session()
    assert not ask(pool, None).keys() & {"revision", "open", "time"}


def test_m6_the_list_is_bounded(pool, monkeypatch):
    monkeypatch.setattr(open_sessions, "MAX_OPEN_SESSIONS", 2)
    ready = {"conditions": [{"type": "EndpointReady", "status": "True"}]}
    pool.session("a", "s1", status=ready)
    pool.session("b", "s2")
    pool.session("c", "s3", status=ready)
    assert ask(pool, "")["open"] == ["s1", "s3"], "those that wait have no token yet"
    pool.session("b", "s2", status=ready)
    assert "revision" not in ask(pool, "")


def test_m6_the_largest_list_fits_what_a_server_reads(pool):
    uids = [str(uuid4()) for _ in range(MAX_OPEN_SESSIONS)]
    answer = PoolAnswer(revision="r" * 64, open=uids, time=NOW)
    assert len(json.dumps(answer.to_wire())) < 900_000
