"""What servers are answered, and what of their reports reaches the planner, without an API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steno_api.model import ObjectRef
from steno_api.server.reports import PoolReport, SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionFigures
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.reports.pools import take_pool_report
from steno_operator.control.reports.token_review import Caller
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


class Desk:
    """A store with a pool and one of its servers, which reports."""

    def __init__(self) -> None:
        self.changes: list[Key] = []
        self.version = 1
        self.store = Store(self.changes.append)
        self.store.put_resource("RuntimePool", resource("RuntimePool", "default", "pool1"))
        pod = resource("Pod", "server", "pod1", status={"phase": "Running"})
        pod["metadata"]["labels"] = {labels.POOL_UID: "pool1"}
        self.store.pools.put_server(pod)

    def session(self, name: str = "call", uid: str = "s1", **more: Any) -> None:
        raw = resource("StreamSession", name, uid, **more)
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.store.put_resource("StreamSession", raw)

    def tell(self, result: SessionResult | None = None, now: datetime = NOW) -> dict[str, Any]:
        said = SessionReport(
            session=ObjectRef(namespace="ns", name="call", uid="s1"),
            started=NOW,
            figures=SessionFigures(audio_seconds=1),
            result=result,
        )
        report = PoolReport(pool=ObjectRef(namespace="ns", name="default", uid="pool1"), sessions=[said])
        caller = Caller(namespace="ns", pod_name="server", pod_uid="pod1")
        code, answer = take_pool_report(self.store, caller, report, now)
        assert code == 200
        return {"end": [], "known": [], **answer}


@pytest.fixture
def desk():
    return Desk()


def test_one_that_came_back_to_another_server_ends_with_its_time(desk):
    """A server counts from its own client's coming, the session from the first one's."""
    began = (NOW - timedelta(seconds=99)).isoformat()
    desk.session(spec={"maxDurationSeconds": 100}, status={"startTime": began})
    assert desk.tell()["end"] == []
    answer = desk.tell(now=NOW + timedelta(seconds=1))
    assert answer["end"] == [{"uid": "s1", "reason": "MaxDuration"}]
    assert desk.store.pools.connection("s1") is not None, "it is connected until it has ended"
    assert desk.tell(PUBLISHED, now=NOW + timedelta(seconds=1))["end"] == []
    assert desk.store.pools.connection("s1").report.result == PUBLISHED


def test_results_that_come_late_reach_the_planner_and_are_asked_for_until_they_stand(desk):
    desk.session(spec={"output": OUTPUT}, status=ENDED)
    desk.changes.clear()
    assert desk.tell(PUBLISHED)["known"] == []
    assert desk.changes == [Key("StreamSession", "ns", "call")]
    assert desk.store.pools.connection("s1").report.result == PUBLISHED
    desk.session(spec={"output": OUTPUT}, status={**ENDED, "results": {"manifest": PUBLISHED.manifest}})
    assert desk.tell(PUBLISHED)["known"] == ["s1"]
    assert desk.store.pools.connection("s1") is None


def test_other_late_words_change_nothing(desk):
    desk.session(spec={"output": OUTPUT}, status=ENDED)
    duplicate = PUBLISHED.model_copy(update={"reason": SessionEnd.DUPLICATE})
    for late in (duplicate, PUBLISHED.model_copy(update={"manifest": None})):
        assert desk.tell(late)["known"] == ["s1"]
        assert desk.store.pools.connection("s1") is None
    assert desk.tell()["end"] == [{"uid": "s1", "reason": "Deleted"}]
