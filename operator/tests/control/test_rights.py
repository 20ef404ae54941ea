"""The operator needs no more rights than these, which the chart gives it."""

from __future__ import annotations

import json

import pytest

from .streams import Streams

pytestmark = pytest.mark.apiserver

KINDS = ("transcriptionjobs", "ocrjobs", "streamsessions", "runtimepools")
SERVED = [
    (["steno.dev"], ["transcriptionjobs", "ocrjobs", "streamsessions"], ["get", "list", "watch", "delete"]),
    (["steno.dev"], ["runtimepools"], ["get", "list", "watch", "create"]),
    (["steno.dev"], [f"{kind}/status" for kind in KINDS], ["get", "patch"]),
    (["steno.dev"], [f"{kind}/finalizers" for kind in KINDS], ["update"]),
    (["apps"], ["deployments"], ["get", "list", "watch", "create", "patch"]),
    ([""], ["services"], ["get", "list", "watch", "create", "patch"]),
    ([""], ["secrets"], ["create", "patch"]),
    (["batch"], ["jobs"], ["get", "list", "watch", "create", "patch", "delete"]),
    ([""], ["pods"], ["get", "list", "watch"]),
    ([""], ["events"], ["get", "list", "watch", "create", "patch"]),
]
"""In each served namespace."""
OWN = [
    (["coordination.k8s.io"], ["leases"], ["get", "create", "update"]),
    ([""], ["pods"], ["get", "patch"]),
    ([""], ["secrets"], ["create"]),
]
"""In the operator's own namespace."""
EVERYWHERE = [
    (["steno.dev"], ["runtimeprofiles", "tenants"], ["get", "list", "watch"]),
    (["steno.dev"], ["tenants/status"], ["get", "patch"]),
    (["authentication.k8s.io"], ["tokenreviews"], ["create"]),
]


KEY = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["steno-operator-session-key"], "verbs": ["get"]}
"""In the operator's own namespace: its signing key, and no other Secret."""


def _rules(entries):
    return [{"apiGroups": groups, "resources": resources, "verbs": verbs} for groups, resources, verbs in entries]


@pytest.fixture
def kubeconfig(place, tmp_path):
    """That of a ServiceAccount with these rights."""
    rbac, name = "/apis/rbac.authorization.k8s.io/v1", place.namespace
    subject = [{"kind": "ServiceAccount", "name": "operator", "namespace": name}]
    token = place.server.service_account_token(name, "operator")
    for kind, path, rules in (
        ("ClusterRole", rbac, EVERYWHERE),
        ("Role", f"{rbac}/namespaces/{name}", [*SERVED, *OWN]),
    ):
        given = _rules(rules) + ([KEY] if kind == "Role" else [])
        place.must("POST", f"{path}/{kind.lower()}s", {"metadata": {"name": name}, "rules": given})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subject}
        place.must("POST", f"{path}/{kind.lower()}bindings", body)
    config = json.loads(place.server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig-operator"
    path.write_text(json.dumps(config))
    return path


def test_a_whole_life_with_least_rights(place, kubeconfig):
    spec = {"containers": [{"name": "operator", "image": "x"}]}
    place.must("POST", f"/api/v1/namespaces/{place.namespace}/pods", {"metadata": {"name": "operator-0"}, "spec": spec})
    replica = place.start(kubeconfig=kubeconfig, label_pod=True)
    place.apply(ttlSecondsAfterFinished=0)
    pod = place.run_pod("talk-1")
    place.wait("Running")
    place.patch(place.job_path("talk"), {"spec": {"suspend": True}})
    place.wait("Suspended")
    place.patch(place.job_path("talk"), {"spec": {"suspend": False}})
    place.wait("Suspended", status="False")
    place.until("the suspended pod is gone", lambda: not place.has_pod(pod))
    [child] = place.children()
    pod = place.run_pod(child["metadata"]["name"])
    place.until(
        "a report is taken", lambda: replica.report(place.token(pod), place.progress(place.status()["attempt"])) == 202
    )
    place.publish(pod)
    place.wait("Complete")
    place.until("the child is gone", lambda: not place.children())
    place.until("its Event", lambda: place.events("AttemptStarted"))
    assert "orbidden" not in replica.log.read_text()
    assert replica.stop() == 0
    assert "not released" not in replica.log.read_text()


def test_a_streams_whole_life_with_least_rights(place, kubeconfig):
    streams = Streams(place)
    replica = place.start(kubeconfig=kubeconfig, default_pool_profile=place.namespace)
    streams.session(ttlSecondsAfterFinished=0, output={"uri": "s3://t"})
    [pod] = streams.warm()
    streams.wait("session", "call", "EndpointReady")
    place.patch(streams.path("pool", "default"), {"spec": {"maxReplicas": 2, "minReplicas": 2}})
    place.until("another server", lambda: streams.deployment()["spec"]["replicas"] == 2)
    streams.tell(replica, pod, streams.said(audioSeconds=2))
    streams.wait("session", "call", "Active")
    streams.tell(replica, pod, streams.said(result={"reason": "ClientEnded"}))
    place.until("the session is gone", lambda: streams.found(streams.path("session", "call")) is None)
    assert "orbidden" not in replica.log.read_text()
    assert replica.stop() == 0
