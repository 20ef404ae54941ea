"""RuntimePools on a real control plane: the real Deployment controller makes the pods, the test plays the kubelet."""

from __future__ import annotations

import pytest

from .streams import Streams, task_of

pytestmark = pytest.mark.apiserver


@pytest.fixture
def streams(harness):
    return Streams(harness)


def test_a_pool_scales_with_its_sessions(harness, streams):
    replica = harness.start()
    streams.pool(sessionsPerReplica=1, maxReplicas=2)
    status = streams.wait("pool", "default", "Ready", "Idle")
    assert (status["phase"], status["capacity"], status["selector"]) == (
        "Idle", 2, f"app.kubernetes.io/managed-by=steno,steno.dev/pool-uid={streams.ref('pool', 'default')['uid']}",
    )  # fmt: skip
    assert streams.deployment()["spec"]["replicas"] == 0
    for name in ("one", "two", "three"):
        streams.session(name)
    pods = streams.warm(2)
    status = streams.wait("pool", "default", "Ready", "Serving")
    assert (status["replicas"], status["readyReplicas"], status["sessions"]) == (2, 2, 3)
    ended = [streams.session_report(name, {"reason": "ClientEnded"}) for name in ("one", "two")]
    streams.send_report(replica, pods[0], *ended)
    streams.wait("session", "two", "Complete")
    streams.wait("session", "three", "EndpointReady")
    assert streams.deployment()["spec"]["replicas"] == 2, "none goes while a session is open"
    streams.delete("session", "three")
    streams.wait("pool", "default", "Ready", "Idle")
    harness.until("no server is left", lambda: not streams.pods())
    assert {event["reason"] for event in harness.events("Scaled")} == {"Scaled"}
    assert replica.metric("steno_reconcile_errors_total") == 0, replica.log.read_text()[-3000:]


def test_servers_stay_for_a_while(harness, streams):
    harness.start()
    streams.pool(scaleDownDelaySeconds=3)
    streams.session()
    streams.warm()
    streams.wait("session", "call", "EndpointReady")
    streams.delete("session", "call")
    harness.until("it is idle", lambda: streams.status("pool", "default").get("idleSince"))
    assert streams.deployment()["spec"]["replicas"] == 1
    streams.wait("pool", "default", "Ready", "Idle")
    assert "idleSince" not in streams.status("pool", "default")


def test_kubectl_scales_it(harness, streams):
    harness.start()
    streams.pool(maxReplicas=3)
    streams.wait("pool", "default", "Ready", "Idle")
    harness.server.kubectl("scale", "rp/default", "--replicas=2", namespace=harness.namespace)
    streams.warm(2)
    streams.wait("pool", "default", "Ready", "Serving")
    harness.server.kubectl("scale", "rp/default", "--replicas=0", namespace=harness.namespace)
    streams.session()
    status = streams.wait("session", "call", "Ready", "PoolNotReady", status="False")
    assert "spec.replicas of RuntimePool" in status["queue"]["message"]
    harness.patch(streams.path("pool", "default"), {"spec": {"replicas": None}})
    streams.warm(1)
    streams.wait("session", "call", "EndpointReady")


def test_its_trouble_shows_in_its_status_and_in_those_that_wait(harness, streams):
    harness.start()
    streams.pool()
    streams.session()
    [pod] = harness.until("a pod", streams.pods)
    terminated = {
        "exitCode": 70,
        "message": "CUDA driver version is insufficient",
        "finishedAt": "2026-01-01T00:00:00Z",
    }
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    streams.set_server(pod, ready=False, state=state, lastState={"terminated": terminated})
    status = streams.wait("pool", "default", "Ready", status="False")
    harness.until("its last words", lambda: "CUDA driver" in streams.condition("pool", "default", "Ready")["message"])
    assert streams.condition("pool", "default", "Ready")["reason"] == "CrashLoopBackOff"
    harness.until("the session says so", lambda: "CUDA driver" in streams.status("session", "call")["queue"]["message"])
    assert status["phase"] == "Scaling"
    blocked = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no gpu"}
    path = f"/api/v1/namespaces/{harness.namespace}/pods/{pod['metadata']['name']}/status"
    harness.patch(path, {"status": {"phase": "Pending", "containerStatuses": [], "conditions": [blocked]}})
    streams.wait("pool", "default", "Ready", "Unschedulable", status="False")
    harness.until("the session says so", lambda: "no gpu" in streams.status("session", "call")["queue"]["message"])


def test_a_quota_refuses_its_pods(harness, streams):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/resourcequotas", quota)
    harness.start()
    streams.pool(minReplicas=1)
    status = streams.wait("pool", "default", "Ready", "PodQuotaExceeded", status="False")
    assert "exceeded quota" in str(status["conditions"])


def test_a_refused_secret_shows_in_the_status_and_is_tried_again(harness, streams):
    harness.start()
    streams.pool(minReplicas=1)
    streams.warm()
    streams.wait("pool", "default", "Ready", "Serving")
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}}
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/resourcequotas", quota)
    path = f"/api/v1/namespaces/{harness.namespace}/resourcequotas/none"
    harness.until("the quota counts", lambda: harness.must("GET", path).get("status", {}).get("hard"))
    streams.session()
    status = streams.wait("session", "call", "Ready", "ChildRefused", status="False")
    assert "exceeded quota" in status["queue"]["message"]
    harness.must("DELETE", f"/api/v1/namespaces/{harness.namespace}/resourcequotas/none")
    streams.wait("session", "call", "EndpointReady")


def test_another_model_replaces_its_servers(harness, streams):
    harness.start()
    streams.pool(
        minReplicas=1, model={"name": "base"}, tenantRef={"name": "acme"}, allowedSources=["https://m.example.com/"]
    )
    [old] = streams.warm()
    streams.wait("pool", "default", "Ready", "Serving")
    task = task_of(streams.deployment())
    assert (task["model"]["name"], task["tenant"], task["maxSessions"]) == ("base", "acme", 16)
    assert task["allowedSources"] == ["https://m.example.com/"]
    harness.patch(streams.path("pool", "default"), {"spec": {"model": {"name": "small"}}})
    harness.until("the new model", lambda: task_of(streams.deployment())["model"]["name"] == "small")
    harness.until(
        "the old server goes", lambda: old["metadata"]["uid"] not in [p["metadata"]["uid"] for p in streams.pods()]
    )
    streams.wait("pool", "default", "Ready", status="False")
    streams.warm()
    streams.wait("pool", "default", "Ready", "Serving")


def test_a_service_as_clients_need_it(harness, streams):
    harness.start()
    service = {"type": "NodePort", "allowPlaintext": True, "annotations": {"example.com/a": "b"}}
    endpoints = {"websocketURL": "ws://localhost:30081", "grpcURL": "localhost:30091"}
    streams.pool(minReplicas=1, service=service, endpoints=endpoints)
    streams.session()
    streams.warm()
    status = streams.wait("session", "call", "EndpointReady")
    assert [each["url"] for each in status["endpoints"]] == [
        f"ws://localhost:30081/stt/realtime?session={harness.namespace}/call", "localhost:30091",
    ]  # fmt: skip
    path = f"/api/v1/namespaces/{harness.namespace}/services/default-pool"
    standing = harness.must("GET", path)
    assert (standing["spec"]["type"], standing["metadata"]["annotations"]["example.com/a"]) == ("NodePort", "b")
    assert [port["port"] for port in standing["spec"]["ports"]] == [8080, 9090]
    harness.patch(streams.path("pool", "default"), {"spec": {"service": {"type": "ClusterIP", "annotations": None}}})
    harness.until("the type", lambda: harness.must("GET", path)["spec"]["type"] == "ClusterIP")
    assert "example.com/a" not in harness.must("GET", path)["metadata"]["annotations"]
    harness.must("DELETE", path)
    harness.until("it is recreated", lambda: streams.found(path))


def test_m8_a_pool_with_a_certificate_is_reached_over_tls(harness, streams):
    harness.start()
    streams.pool(minReplicas=1, tls={"secretRef": {"name": "stt-tls"}})
    streams.session()
    streams.warm()
    status = streams.wait("session", "call", "EndpointReady")
    host = f"default-pool.{harness.namespace}.svc"
    url = f"wss://{host}:8080/stt/realtime?session={harness.namespace}/call"
    assert status["endpoints"] == [
        {"protocol": "WebSocket", "url": url, "tls": True},
        {"protocol": "GRPC", "url": f"{host}:9090", "tls": True},
    ]
    deployment = streams.deployment()
    pod = deployment["spec"]["template"]["spec"]
    [volume] = [each["secret"] for each in pod["volumes"] if each["name"] == "tls"]
    assert (volume["secretName"], [item["key"] for item in volume["items"]]) == ("stt-tls", ["tls.crt", "tls.key"])
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "tls"]
    assert (mount["mountPath"], mount["readOnly"]) == (task_of(deployment)["tlsDir"], True)
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["port"] == "probes"
    service = harness.must("GET", f"/api/v1/namespaces/{harness.namespace}/services/default-pool")
    assert [port["appProtocol"] for port in service["spec"]["ports"]] == ["kubernetes.io/wss", "https"]


def test_what_is_not_ours_is_left_alone(harness, streams):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = f"/apis/apps/v1/namespaces/{harness.namespace}/deployments"
    theirs = harness.must("POST", path, {"metadata": {"name": "default-pool"}, "spec": spec})
    harness.start()
    streams.pool()
    status = streams.wait("pool", "default", "Stalled", "NameConflict")
    assert status["phase"] == "Failed"
    assert harness.must("GET", f"{path}/default-pool")["metadata"]["generation"] == theirs["metadata"]["generation"]
    harness.must("DELETE", f"{path}/default-pool")
    streams.wait("pool", "default", "Ready", "Idle")


def test_a_deleted_pool_takes_its_servers_along_and_its_sessions_wait(harness, streams):
    replica = harness.start()
    streams.pool("fast", minReplicas=1)
    streams.session(poolRef={"name": "fast"})
    [pod] = streams.warm(pool="fast")
    streams.wait("session", "call", "EndpointReady")
    report = streams.session_report(audioSeconds=1)
    pool = streams.ref("pool", "fast")
    streams.send_report(replica, pod, report, pool="fast")
    streams.wait("session", "call", "Active")
    streams.delete("pool", "fast")
    path = f"/apis/apps/v1/namespaces/{harness.namespace}/deployments/fast-pool"
    harness.until("its Deployment is gone", lambda: streams.found(path) is None)
    streams.session("other", poolRef={"name": "fast"})
    streams.wait("session", "other", "Accepted", "PoolNotFound", status="False")
    harness.until("its server is gone", lambda: not streams.pods("fast"))
    status = streams.wait("session", "call", "Active", status="False")
    assert status["phase"] in ("Pending", "Waiting")
    streams.pool("fast")
    assert streams.ref("pool", "fast") != pool
    streams.warm(1, "fast")
    streams.wait("session", "call", "EndpointReady")
    streams.wait("session", "other", "EndpointReady")


def test_a_pool_waits_for_its_profile(harness, streams):
    harness.start()
    name = f"{harness.namespace}-late"
    streams.pool(profileRef={"name": name})
    streams.session()
    streams.wait("pool", "default", "Accepted", "ProfileNotFound", status="False")
    streams.wait("session", "call", "Accepted", "ProfileNotFound", status="False")
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": name}, "spec": {}}
    harness.must("POST", "/apis/steno.dev/v1alpha1/runtimeprofiles", body)
    streams.warm()
    streams.wait("session", "call", "EndpointReady")


def test_nothing_is_written_at_idle(harness, streams):
    replica = harness.start(resync_interval_seconds=0.5)
    streams.pool(minReplicas=1)
    streams.session()
    streams.warm()
    streams.wait("session", "call", "EndpointReady")
    streams.wait("pool", "default", "Ready", "Serving")
    harness.until("the pool counts it", lambda: streams.status("pool", "default")["sessions"] == 1)
    writes = replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total")
    reconciliations = replica.metric("steno_reconcile_seconds_count")
    for kind, name in (("pool", "default"), ("session", "call")):
        harness.patch(streams.path(kind, name), {"metadata": {"annotations": {"touched": "yes"}}})
    harness.until(
        "more reconciliations", lambda: replica.metric("steno_reconcile_seconds_count") >= reconciliations + 2
    )
    assert replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total") == writes


def test_its_gpus_are_its_tenants(harness, streams):
    harness.start()
    profile = f"/apis/steno.dev/v1alpha1/runtimeprofiles/{harness.namespace}"
    harness.patch(profile, {"spec": {"accelerator": {"count": 1}}})
    tenants, name = "/apis/steno.dev/v1alpha1/tenants", f"t-{harness.namespace}"[:63]
    spec = {"namespaces": [harness.namespace], "limits": {"gpus": 2}}
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": spec}
    harness.must("POST", tenants, body)

    def usage() -> dict:
        return (harness.must("GET", f"{tenants}/{name}").get("status") or {}).get("usage") or {}

    harness.apply("talk")
    worker = harness.run_pod("talk-1")
    harness.until("the job holds its GPU", lambda: usage().get("gpus") == 1)
    streams.pool(maxReplicas=2, sessionsPerReplica=1)
    streams.session()
    streams.wait("pool", "default", "Ready", "GPUsExhausted", status="False")
    assert streams.pods() == []
    harness.until(
        "the waiting session says why",
        lambda: "may use 2 GPUs" in (streams.status("session", "call").get("queue") or {}).get("message", ""),
    )
    harness.publish(worker)
    pods = streams.warm(1)
    streams.wait("session", "call", "EndpointReady")
    harness.until("it holds those of all it may have", lambda: (usage()["gpus"], usage()["runningJobs"]) == (2, 0))
    harness.apply("later")
    harness.until("the job waits", lambda: harness.status("later").get("queue", {}).get("reason") == "GPUsExhausted")
    streams.delete("session", "call")
    harness.until("the server goes", lambda: not streams.pods())
    for pod in pods:
        if harness.has_pod(pod):
            streams.kill(pod)
    harness.run_pod("later-1")
    harness.until("its GPUs are free", lambda: (usage()["gpus"], usage()["runningJobs"]) == (1, 1))
    harness.must("DELETE", f"{tenants}/{name}")
