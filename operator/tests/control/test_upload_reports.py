"""Uploads by REST and gRPC are charged to the Tenant of the session whose token they came with, as servers report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.model import ObjectRef
from steno_api.server.reports import PoolReport, UploadReport
from steno_api.usage import Work
from steno_api.v1alpha1.streamsession import StreamSession
from steno_api.v1alpha1.tenant import Tenant
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.session import observe_session
from steno_operator.control.cache.snapshots.tenant import observe_tenant
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.control.reports.pools import take_pool_report
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.manifests import labels
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.session.planner import plan_session
from steno_operator.plan.tenant.planner import plan_tenant

from .objects import CREATED

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
KEY = Key("StreamSession", "ns", "call")
POLICY = Policy(runtime_image="i", report_url="u")
ENDED = {
    "completionTime": CREATED,
    "conditions": [
        {"type": "Complete", "status": "True", "reason": "NoClient", "message": "", "lastTransitionTime": CREATED}
    ],
    "stats": {"audioSeconds": 5.0},
}
TEN_MINUTES = Work(audio_millis=600_000, pages=4)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Uploads:
    """A session of a Tenant, its pool, and a server that uploads are sent to."""

    def __init__(self, **limits: int) -> None:
        self.limits = {"streams": 5, **limits}
        self.version = 1
        self.quota: dict[str, Any] = {"reservations": [self.reservation()]}
        self.begin()
        self.session()

    @staticmethod
    def reservation() -> dict[str, Any]:
        return {
            "uid": "s1", "kind": "StreamSession", "namespace": "ns", "name": "call", "streams": 1, "since": CREATED,
        }  # fmt: skip

    def begin(self) -> None:
        """An operator begins: it lists what there is."""
        self.clock = Clock()
        self.state = ClusterState(clock=self.clock)
        self.changes: list[Key] = []
        Subscriptions(self.state, self.changes.append)
        self.state.resources.upsert(self.raw("RuntimePool", "default", "pool1"))
        self.state.resources.upsert(self.raw("Tenant", "acme", "t1", spec=self.tenant_spec()))
        self.put_quota(self.quota)
        self.server()

    def tenant_spec(self) -> dict[str, Any]:
        return {"namespaces": ["ns"], "limits": self.limits}

    def raw(self, kind: str, name: str, uid: str, **more: Any) -> dict[str, Any]:
        self.version += 1
        metadata = {"name": name, "uid": uid, "resourceVersion": str(self.version), "creationTimestamp": CREATED}
        if kind not in ("Tenant", "TenantQuota"):
            metadata["namespace"] = "ns"
        return {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}, **more}

    def put_quota(self, status: dict[str, Any]) -> None:
        self.quota = status
        raw = self.raw("TenantQuota", "acme", "q1", status=status)
        raw["metadata"]["ownerReferences"] = [{"kind": "Tenant", "name": "acme", "uid": "t1", "controller": True}]
        self.state.quotas.upsert(raw)

    def server(self, uid: str = "pod1") -> None:
        running = {"name": "server", "state": {"running": {"startedAt": CREATED}}}
        pod = self.raw("Pod", f"server-{uid}", uid, status={"phase": "Running", "containerStatuses": [running]})
        pod["metadata"]["labels"] = {labels.POOL_UID: "pool1", labels.POOL: "default"}
        owner = {"kind": "ReplicaSet", "name": "default-pool-5d8f", "uid": "rs1", "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]
        self.state.servers.upsert(pod)

    def session(self, **status: Any) -> None:
        self.status = status
        self.state.resources.upsert(self.raw("StreamSession", "call", "s1", status=status))

    def report(self, used: Work | None = None, *, active: bool = False, pod: str = "pod1", **ref: str) -> Any:
        session = ObjectRef(**{"namespace": "ns", "name": "call", "uid": "s1", **ref})
        said = [] if used is None else [UploadReport(session=session, used=used, active=active)]
        pool = ObjectRef(namespace="ns", name="default", uid="pool1")
        report = PoolReport(pool=pool, sessions=[], process=f"20260102T030405Z-{pod}", uploads=said)
        code, answer = take_pool_report(self.state, PodIdentity("ns", f"server-{pod}", pod), report, NOW)
        assert code == 200
        return answer

    def plan_session(self) -> None:
        raw = self.state.resource(KEY)
        plan = plan_session(observe_session(self.state, KEY, StreamSession.from_wire(raw)), NOW, POLICY)
        self.session(**plan.status.to_wire())

    def plan_tenant(self) -> tuple[int, int, int]:
        """Return how many sessions have a reservation, and what was charged."""
        raw = self.raw("Tenant", "acme", "t1", spec=self.tenant_spec())
        for write in plan_tenant(observe_tenant(self.state, Tenant.from_wire(raw)), NOW).actions:
            self.put_quota(write.status.to_wire())
        sessions = [each for each in self.quota["reservations"] if each["kind"] == "StreamSession"]
        return len(sessions), self.quota.get("audioMillis", 0), self.quota.get("pages", 0)


@pytest.fixture
def uploads():
    return Uploads()


def test_h5_uploads_are_charged_with_the_session_and_reported_until_then(uploads):
    assert uploads.report(TEN_MINUTES)["charged"] == []
    assert KEY in uploads.changes
    uploads.plan_session()
    assert uploads.status["usage"]["audioMillis"] == 600_000
    uploads.session(**ENDED, usage=uploads.status["usage"])
    assert uploads.report(TEN_MINUTES)["charged"] == []
    assert uploads.plan_tenant() == (0, 605_000, 4)
    assert uploads.report(TEN_MINUTES)["charged"] == ["s1"]
    assert uploads.plan_tenant() == (0, 605_000, 4)


def test_a_session_that_ends_is_charged_when_its_uploads_are_stopped(uploads):
    uploads.report(Work(audio_millis=1_000), active=True)
    uploads.session(**ENDED)
    assert uploads.plan_tenant() == (1, 0, 0)
    uploads.changes.clear()
    uploads.report(Work(audio_millis=9_000))
    assert Key("Tenant", "", "acme") in uploads.changes
    assert uploads.plan_tenant() == (0, 14_000, 0)
    uploads.plan_session()
    assert uploads.status["usage"]["audioMillis"] == 9_000


def test_a_server_that_is_gone_does_nothing_any_more(uploads):
    uploads.report(Work(audio_millis=1_000), active=True)
    uploads.session(**ENDED)
    assert uploads.plan_tenant() == (1, 0, 0)
    uploads.state.servers.delete("pod1")
    assert uploads.plan_tenant() == (0, 6_000, 0)


def test_uploads_to_two_servers_are_both_charged(uploads):
    uploads.server("pod2")
    uploads.report(Work(audio_millis=1_000))
    uploads.report(Work(audio_millis=2_000), pod="pod2")
    uploads.report(Work(audio_millis=1_500))
    uploads.session(**ENDED)
    assert uploads.plan_tenant() == (0, 8_500, 0)


def test_uploads_of_a_deleted_session_are_charged(uploads):
    uploads.report(TEN_MINUTES, active=True)
    uploads.state.resources.delete("s1")
    assert uploads.report(TEN_MINUTES.plus(Work(pages=1)), active=True)["charged"] == []
    assert uploads.plan_tenant() == (1, 0, 0)
    uploads.report(TEN_MINUTES.plus(Work(pages=2)))
    assert uploads.plan_tenant() == (0, 600_000, 6)
    assert uploads.report(TEN_MINUTES)["charged"] == ["s1"]


@pytest.mark.parametrize("deleted", [True, False])
def test_an_operator_that_just_began_asks_the_servers_before_it_settles(uploads, deleted):
    uploads.report(TEN_MINUTES)
    uploads.begin()
    if not deleted:
        uploads.session(**ENDED)
    assert uploads.plan_tenant()[0] == 1
    uploads.report(TEN_MINUTES)
    assert uploads.plan_tenant()[:2] == (0, 600_000 if deleted else 605_000)


def test_a_server_that_does_not_speak_is_not_waited_for_long(uploads):
    uploads.begin()
    assert uploads.plan_tenant()[0] == 1
    uploads.clock.now = 60.0
    assert uploads.plan_tenant()[0] == 0


def test_servers_are_told_that_the_minutes_are_used_up_by_what_is_under_way():
    uploads = Uploads(audioMinutesPerDay=10, pagesPerDay=5)
    assert uploads.report(Work(audio_millis=599_000))["exhausted"] == []
    uploads.clock.now = 5.0
    assert uploads.report(Work(audio_millis=600_000))["exhausted"] == ["Audio"]
    uploads.put_quota({**uploads.quota, "day": "2026-01-02", "pages": 5})
    uploads.clock.now = 10.0
    assert uploads.report()["exhausted"] == ["Audio", "Pages"]
    uploads.put_quota({**uploads.quota, "day": "2026-01-01"})
    uploads.clock.now = 15.0
    assert uploads.report()["exhausted"] == ["Audio"]


def test_a_server_says_nothing_of_the_sessions_of_others(uploads):
    other = uploads.raw("StreamSession", "other", "s2")
    other["spec"] = {"poolRef": {"name": "else"}}
    uploads.state.resources.upsert(other)
    assert uploads.report(TEN_MINUTES, name="other", uid="s2")["charged"] == ["s2"]
    assert uploads.report(TEN_MINUTES, namespace="elsewhere")["charged"] == ["s1"]
    assert uploads.report(TEN_MINUTES, name="never", uid="s9")["charged"] == ["s9"]
    for uid in ("s1", "s2", "s9"):
        for namespace in ("ns", "elsewhere"):
            assert uploads.state.uploads.work((namespace, uid)) == {}
