"""The operator needs no more rights than these, which the chart gives it, nor more than its admission policy allows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from charts.tests.helm import of_kind, render

from .harness import GROUP
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
    (["steno.dev"], ["runtimeprofiles", "tenants", "tenantquotas"], ["get", "list", "watch"]),
    (["steno.dev"], ["tenants/status", "tenantquotas/status"], ["get", "patch"]),
    (["steno.dev"], ["tenantquotas"], ["create", "delete"]),
    (["authentication.k8s.io"], ["tokenreviews"], ["create"]),
]


KEY = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["steno-operator-session-key"], "verbs": ["get"]}
"""In the operator's own namespace: its signing key, and no other Secret."""


def _rules(entries):
    return [{"apiGroups": groups, "resources": resources, "verbs": verbs} for groups, resources, verbs in entries]


@pytest.fixture
def kubeconfig(harness, tmp_path):
    """That of a ServiceAccount with these rights."""
    rbac, name = "/apis/rbac.authorization.k8s.io/v1", harness.namespace
    subject = [{"kind": "ServiceAccount", "name": "operator", "namespace": name}]
    token = harness.server.service_account_token(name, "operator")
    for kind, path, rules in (
        ("ClusterRole", rbac, EVERYWHERE),
        ("Role", f"{rbac}/namespaces/{name}", [*SERVED, *OWN]),
    ):
        given = _rules(rules) + ([KEY] if kind == "Role" else [])
        harness.must("POST", f"{path}/{kind.lower()}s", {"metadata": {"name": name}, "rules": given})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subject}
        harness.must("POST", f"{path}/{kind.lower()}bindings", body)
    police(harness, token)
    config = json.loads(harness.server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig-operator"
    path.write_text(json.dumps(config))
    return path


def police(harness, token: str) -> None:
    """Put the chart's admission policy on the ServiceAccount in force."""
    values = f"serviceAccount.name=operator,watchNamespaces={{{harness.namespace}}}"
    rendered = render("--namespace", harness.namespace, "--set", values)
    name = f"steno-operator-{harness.namespace}-operator"
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        for each in of_kind(rendered, kind):
            if each["metadata"]["name"] == name:
                harness.server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    operator = replace(harness.server, token=token)
    path = f"/apis/batch/v1/namespaces/{harness.namespace}/jobs?dryRun=All"
    spec = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
    foreign = {"metadata": {"name": "foreign"}, "spec": {"template": {"spec": spec}}}
    harness.until("the policy", lambda: name in operator.request("POST", path, foreign).message)


def test_a_whole_life_with_least_rights(harness, kubeconfig):
    spec = {"containers": [{"name": "operator", "image": "x"}]}
    labels = {"app.kubernetes.io/name": "steno-operator", "app.kubernetes.io/instance": "steno"}
    pod = {"metadata": {"name": "operator-0", "labels": labels}, "spec": spec}
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/pods", pod)
    tenant = {"metadata": {"name": harness.namespace}, "spec": {"namespaces": [harness.namespace]}}
    for plural, kind in (("tenantquotas", "TenantQuota"), ("tenants", "Tenant")):  # the quota is to make way
        harness.must("POST", f"{GROUP}/{plural}", {"apiVersion": "steno.dev/v1alpha1", "kind": kind, **tenant})
    replica = harness.start(kubeconfig=kubeconfig, label_pod=True)
    harness.apply(ttlSecondsAfterFinished=0)
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    harness.patch(harness.job_path("talk"), {"spec": {"suspend": True}})
    harness.wait("Suspended")
    harness.patch(harness.job_path("talk"), {"spec": {"suspend": False}})
    harness.wait("Suspended", status="False")
    harness.until("the suspended pod is gone", lambda: not harness.has_pod(pod))
    [child] = harness.children()
    pod = harness.run_pod(child["metadata"]["name"])
    harness.until(
        "a report is taken",
        lambda: replica.report(harness.token(pod), harness.progress(harness.status()["attempt"])) == 202,
    )
    harness.publish(pod)
    harness.wait("Complete")
    quota = f"{GROUP}/tenantquotas/{harness.namespace}"
    harness.until("its audio is counted", lambda: harness.must("GET", quota)["status"].get("audioMillis") == 30_000)
    harness.until("the child is gone", lambda: not harness.children())
    harness.until("its Event", lambda: harness.events("AttemptStarted"))
    assert "orbidden" not in replica.log.read_text()
    assert "ValidatingAdmissionPolicy" not in replica.log.read_text()
    assert replica.stop() == 0
    assert "not released" not in replica.log.read_text()


def test_a_streams_whole_life_with_least_rights(harness, kubeconfig):
    streams = Streams(harness)
    replica = harness.start(kubeconfig=kubeconfig, default_pool_profile=harness.namespace)
    streams.session(ttlSecondsAfterFinished=0, output={"uri": "s3://t"})
    [pod] = streams.warm()
    streams.wait("session", "call", "EndpointReady")
    harness.patch(streams.path("pool", "default"), {"spec": {"maxReplicas": 2, "minReplicas": 2}})
    harness.until("another server", lambda: streams.deployment()["spec"]["replicas"] == 2)
    streams.send_report(replica, pod, streams.session_report(audioSeconds=2))
    streams.wait("session", "call", "Active")
    streams.send_report(replica, pod, streams.session_report(result={"reason": "ClientEnded"}))
    harness.until("the session is gone", lambda: streams.found(streams.path("session", "call")) is None)
    assert "orbidden" not in replica.log.read_text()
    assert "ValidatingAdmissionPolicy" not in replica.log.read_text()
    assert replica.stop() == 0


def test_k4_a_served_namespace_that_is_gone_with_its_role_holds_no_other_up(harness, kubeconfig):
    other = harness.server.namespace("gone")
    replica = harness.start(kubeconfig=kubeconfig, namespaces=f"{harness.namespace},{other}")
    harness.apply()
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")
    assert replica.metric("steno_watch_forbidden", served_namespace=other) > 1
    assert replica.metric("steno_watch_forbidden", served_namespace=harness.namespace) == 0
    assert other in replica.log.read_text()


def grant_served(harness, namespace: str) -> None:
    """Give the operator's ServiceAccount its rights in another served namespace, as the chart does."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": harness.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    for kind, body in (("roles", {"rules": _rules(SERVED)}), ("rolebindings", {"roleRef": reference})):
        subjects = {"subjects": [subject]} if kind == "rolebindings" else {}
        harness.must("POST", f"{rbac}/{kind}", {"metadata": {"name": "operator"}, **body, **subjects})


def test_k4_a_team_that_deletes_its_namespace_costs_the_others_nothing(harness, kubeconfig):
    team, other = harness.namespace, harness.server.namespace("leaves")
    grant_served(harness, other)
    tenant = {"metadata": {"name": team}, "spec": {"namespaces": [team, other], "limits": {"concurrentJobs": 2}}}
    harness.must("POST", f"{GROUP}/tenants", {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", **tenant})
    served = {"kubeconfig": kubeconfig, "namespaces": f"{team},{other}"}
    replica = harness.start(**served)
    harness.namespace = other
    harness.apply("left", profileRef={"name": team})
    harness.run_pod("left-1")
    harness.wait("Running", "left")
    harness.namespace = team
    harness.apply("kept")
    kept = harness.run_pod("kept-1")
    harness.wait("Running", "kept")
    running = f"{GROUP}/tenants/{team}"
    harness.until(
        "both shares", lambda: harness.must("GET", running)["status"].get("usage", {}).get("runningJobs") == 2
    )

    harness.must("DELETE", f"/api/v1/namespaces/{other}")
    harness.until("the namespace is gone", lambda: harness.call("GET", f"/api/v1/namespaces/{other}").status == 404)
    harness.until("its share", lambda: harness.must("GET", running)["status"]["usage"].get("runningJobs") == 1)
    harness.publish(kept)
    harness.wait("Complete", "kept")
    assert replica.get("/readyz")[0] == 200
    assert replica.process.poll() is None
    assert replica.stop() == 0

    again = harness.start(**served)
    harness.apply("next")
    harness.publish(harness.run_pod("next-1"))
    harness.wait("Complete", "next")
    assert again.metric("steno_watch_forbidden", served_namespace=other) > 1
    assert again.metric("steno_watch_forbidden", served_namespace=team) == 0
    assert other in again.log.read_text()
