"""StreamSessions from apply to transcript, on a real control plane; servers are played over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from .streams import Streams, claims_of, post, task_of

pytestmark = pytest.mark.apiserver

ARTIFACT = {"format": "json", "name": "transcript.json", "sha256": "0" * 64, "bytes": 12}


def published(directory: str) -> dict[str, Any]:
    """Return what a server says of a session that it published to a directory."""
    return {"reason": "ClientEnded", "manifest": f"{directory}/manifest.json", "artifacts": [ARTIFACT]}


@pytest.fixture
def streams(harness):
    return Streams(harness)


def test_a_session_from_apply_to_transcript(harness, streams):
    replica = harness.start(default_pool_profile=harness.namespace, default_pool_model="whisper-base")
    streams.session(meetingID="Standup", output={"uri": "s3://t/x/", "secretRef": {"name": "s3"}}, language="ko")
    assert streams.wait("session", "call", "Accepted")["phase"] == "Waiting"
    pool = streams.get("pool", "default")
    assert pool["spec"]["model"]["name"] == "whisper-base"
    assert pool["spec"]["output"] == {"secretRef": {"name": "s3"}}
    [pod] = streams.warm()
    status = streams.wait("session", "call", "EndpointReady")
    assert status["phase"] == "Ready"
    host = f"default-pool.{harness.namespace}.svc"
    url = f"ws://{host}:8080/stt/realtime?session={harness.namespace}/call"
    assert status["endpoints"] == [
        {"protocol": "WebSocket", "url": url, "tls": False},
        {"protocol": "GRPC", "url": f"{host}:9090", "tls": False},
    ]
    uid = streams.get("session", "call")["metadata"]["uid"]
    assert status["tokenSecretName"] == f"call-token-{uid[:8]}"
    token = streams.secret(status["tokenSecretName"])
    claims = claims_of(token, streams.deployment())
    assert (claims["uid"], claims["sub"], claims["tenant"]) == (uid, f"{harness.namespace}/call", harness.namespace)
    assert (claims["meetingID"], claims["language"]) == ("Standup", "ko")
    assert claims["outputURI"] == f"s3://t/x/{harness.namespace}/call/{uid}"
    answer = streams.send_report(replica, pod, streams.session_report(audioSeconds=1.5, segments=1))
    assert (answer["end"], answer["known"]) == ([], [])
    status = streams.wait("session", "call", "Active")
    assert (status["phase"], status["podName"]) == ("Active", pod["metadata"]["name"])
    assert status["stats"]["audioSeconds"] == 1.5
    directory = claims["outputURI"]
    last = streams.session_report(result=published(directory), audioSeconds=9, segments=3, finalLatencyMillis=400)
    assert streams.send_report(replica, pod, last)["known"] == []
    status = streams.wait("session", "call", "Complete")
    assert (status["phase"], status["stats"]["segments"]) == ("Succeeded", 3)
    assert status["results"]["artifacts"][0]["uri"] == f"{directory}/transcript.json"
    assert "tokenSecretName" not in status
    assert streams.send_report(replica, pod, last)["known"] == [uid]
    assert streams.send_report(replica, pod, streams.session_report())["end"] == [{"uid": uid, "reason": "ClientEnded"}]
    assert {"Accepted", "EndpointReady", "Connected", "ClientEnded"} <= {
        event["reason"] for event in harness.list("/api/v1/namespaces/{ns}/events") if
        event["involvedObject"]["kind"] == "StreamSession"
    }  # fmt: skip
    log = replica.log.read_text()
    assert token not in log
    assert replica.metric("steno_reconcile_errors_total") == 0, log[-3000:]


def test_a_deleted_session_is_ended_by_its_server(harness, streams):
    replica = harness.start()
    streams.pool(minReplicas=1)
    streams.session()
    [pod] = streams.warm()
    streams.wait("session", "call", "EndpointReady")
    report = streams.session_report()
    streams.send_report(replica, pod, report)
    streams.wait("session", "call", "Active")
    streams.delete("session", "call")
    uid = report["session"]["uid"]
    harness.until(
        "the order", lambda: streams.send_report(replica, pod, report)["end"] == [{"uid": uid, "reason": "Deleted"}]
    )
    ended = {**report, "result": {"reason": "Deleted", "time": report["started"]}}
    assert streams.send_report(replica, pod, ended)["known"] == [uid]
    harness.until("the place is free", lambda: streams.status("pool", "default")["sessions"] == 0)
    secrets = "/api/v1/namespaces/{ns}/secrets"
    harness.until(
        "the token is gone", lambda: not any("-token-" in s["metadata"]["name"] for s in harness.list(secrets))
    )


def test_a_session_comes_back_to_another_server_when_its_own_vanished(harness, streams):
    replica = harness.start()
    streams.pool(minReplicas=2, maxReplicas=2)
    streams.session()
    first, second = streams.warm(2)
    streams.wait("session", "call", "EndpointReady")
    streams.send_report(replica, first, streams.session_report(audioSeconds=3))
    streams.wait("session", "call", "Active")
    streams.kill(first)
    status = streams.wait("session", "call", "Active", status="False")
    assert streams.wait("session", "call", "EndpointReady")["phase"] == "Ready"
    assert status["stats"]["audioSeconds"] == 3
    streams.send_report(replica, second, streams.session_report(audioSeconds=4))
    status = streams.wait("session", "call", "Active")
    assert (status["podName"], status["stats"]["audioSeconds"]) == (second["metadata"]["name"], 7)
    assert status["previousServers"]["audioSeconds"] == 3
    streams.send_report(replica, second)  # its container was restarted: it has no session
    streams.wait("session", "call", "Active", status="False")


def test_a_session_is_connected_to_one_server_only(harness, streams):
    replica = harness.start()
    streams.pool(minReplicas=2, maxReplicas=2)
    streams.session()
    first, second = streams.warm(2)
    streams.wait("session", "call", "EndpointReady")
    streams.send_report(replica, first, streams.session_report(audioSeconds=3))
    report = streams.session_report(audioSeconds=1)
    uid = report["session"]["uid"]
    assert streams.send_report(replica, second, report)["end"] == [{"uid": uid, "reason": "Duplicate"}]
    ended = {**report, "result": {"reason": "Duplicate", "time": report["started"]}}
    assert streams.send_report(replica, second, ended)["known"] == [uid]
    assert streams.wait("session", "call", "Active")["podName"] == first["metadata"]["name"]


def test_a_full_pool_serves_the_oldest(harness, streams):
    replica = harness.start()  # of one second's sessions, the alphabet has it
    streams.pool(sessionsPerReplica=1)
    streams.session("a")
    [pod] = streams.warm()
    streams.wait("session", "a", "EndpointReady")
    streams.session("b")
    streams.wait("session", "b", "Ready", "PoolFull", status="False")
    streams.session("c")
    streams.wait("session", "c", "Ready", "PoolFull", status="False")
    harness.until("the queue", lambda: streams.status("session", "c")["queue"].get("position") == 2)
    assert streams.status("session", "b")["queue"]["position"] == 1
    assert "tokenSecretName" not in streams.status("session", "b")
    assert streams.wait("pool", "default", "Ready")["sessions"] == 3
    streams.send_report(replica, pod, streams.session_report("a", {"reason": "ClientEnded"}))
    streams.wait("session", "a", "Complete")
    streams.wait("session", "b", "EndpointReady")
    harness.until("the queue moves", lambda: streams.status("session", "c")["queue"].get("position") == 1)
    streams.delete("session", "b")
    streams.wait("session", "c", "EndpointReady")


def test_an_output_that_is_not_the_pools(harness, streams):
    harness.start()
    streams.pool("bare")
    streams.pool("rich", output={"secretRef": {"name": "s3"}, "region": "x"})
    streams.session("a", poolRef={"name": "bare"}, output={"uri": "s3://t"})
    streams.session("b", poolRef={"name": "rich"}, output={"uri": "s3://t", "secretRef": {"name": "other"}})
    streams.session("c", poolRef={"name": "rich"}, output={"uri": "s3://t", "region": "x"})
    streams.session("d", poolRef={"name": "none"})
    for name, reason, words in (
        ("a", "OutputNotOfPool", 'RuntimePool "bare" has no spec.output'),
        ("b", "OutputNotOfPool", 'spec.output.secretRef differs from that of RuntimePool "rich"'),
        ("d", "PoolNotFound", 'RuntimePool "none" does not exist: create it'),
    ):
        status = streams.wait("session", name, "Accepted", reason, status="False")
        assert words in status["queue"]["message"]
    streams.wait("session", "c", "Accepted")
    assert streams.deployment("bare")["spec"]["replicas"] == 0, "who is not accepted wants no server"
    harness.patch(streams.path("pool", "bare"), {"spec": {"output": {}}})
    streams.wait("session", "a", "Accepted")
    streams.pool("none")
    streams.wait("session", "d", "Accepted")


def test_a_failure_to_publish_is_the_sessions(harness, streams):
    replica = harness.start()
    streams.pool()
    streams.session(ttlSecondsAfterFinished=2)
    [pod] = streams.warm()
    streams.wait("session", "call", "EndpointReady")
    result = {"reason": "ClientEnded", "failure": "OutputForbidden", "message": "The bucket refuses the credentials."}
    streams.send_report(replica, pod, streams.session_report(result=result))
    status = streams.wait("session", "call", "Failed", "OutputForbidden")
    assert status["phase"] == "Failed"
    assert streams.found(streams.path("session", "call"))
    harness.until("its time is over", lambda: streams.found(streams.path("session", "call")) is None)


def test_nobody_connects(harness, streams):
    harness.start()
    streams.pool()
    streams.session(maxDurationSeconds=2, idleTimeoutSeconds=1)
    streams.warm()
    assert streams.wait("session", "call", "Complete", "NoClient")["phase"] == "Succeeded"


def test_a_token_is_replaced_in_time(harness, streams):
    harness.start(session_token_seconds=4)
    streams.pool()
    streams.session()
    streams.warm()
    first = streams.wait("session", "call", "EndpointReady")
    token = streams.secret(first["tokenSecretName"])
    harness.until("another token", lambda: streams.secret(first["tokenSecretName"]) != token)
    again = harness.until("its time in the status", lambda: (
        found if (found := streams.status("session", "call"))["tokenExpirationTime"] > first["tokenExpirationTime"]
        else None
    ))  # fmt: skip
    claims = claims_of(streams.secret(again["tokenSecretName"]), streams.deployment())
    assert claims["exp"] - claims["iat"] == 4


def test_an_operator_that_comes_back_knows_who_is_connected(harness, streams):
    url = "http://steno-operator.steno-system.svc:8080"  # of both: another one would replace the servers
    replica = harness.start(report_url=url)
    streams.pool(output={})
    streams.session(output={"uri": "s3://t"})
    [pod] = streams.warm()
    streams.wait("session", "call", "EndpointReady")
    streams.send_report(replica, pod, streams.session_report(audioSeconds=3))
    before = streams.wait("session", "call", "Active")
    key = task_of(streams.deployment())["tokenKeys"]
    replica.kill()
    result = published(f"s3://t/{harness.namespace}/call/{streams.ref('session', 'call')['uid']}")
    last = streams.session_report(result=result)
    again = harness.start(report_url=url)
    harness.until("it leads", again.leads)
    streams.session("later")
    streams.wait("session", "later", "EndpointReady")
    status = streams.status("session", "call")
    assert (status["phase"], status["tokenExpirationTime"]) == ("Active", before["tokenExpirationTime"])
    streams.send_report(again, pod, last)
    assert streams.wait("session", "call", "Complete")["results"]["manifest"] == result["manifest"]
    assert task_of(streams.deployment())["tokenKeys"] == key


def test_who_may_not_report(harness, streams):
    replica = harness.start()
    streams.pool()
    streams.pool("other", minReplicas=1)
    streams.session()
    [pod] = streams.warm()
    [stranger] = streams.warm(pool="other")
    streams.wait("session", "call", "EndpointReady")
    report = streams.session_report()
    streams.send_report(replica, pod)
    streams.send_report(replica, stranger, pool="other")
    body = {"pool": streams.ref("pool", "default"), "sessions": [report]}
    assert post(replica, "nonsense", body)[0] == 401
    assert post(replica, harness.token(pod, audience="https://kubernetes.default.svc"), body)[0] == 401
    assert post(replica, harness.token(stranger), body)[0] == 403
    # A server may speak of its own pool's sessions only: another's are to end there.
    uid = report["session"]["uid"]
    assert streams.send_report(replica, stranger, report, pool="other")["end"] == [{"uid": uid, "reason": "Deleted"}]
    token = harness.token(pod)
    assert post(replica, token, b"no json")[0] == 400
    assert post(replica, token, {**body, "sessions": [{**report, "stats": {"audioSeconds": -1}}]})[0] == 400
    endless = b'{"pool": %s' % (b" " * 1_100_000)
    assert post(replica, token, endless)[0] == 400
    never = {**report, "session": {**report["session"], "uid": "0"}}
    assert streams.send_report(replica, pod, never)["end"] == [{"uid": "0", "reason": "Deleted"}]
    assert streams.condition("session", "call", "Active")["status"] == "False"


def test_streams_over_the_tenants_limit_are_refused_and_minutes_are_counted(harness, streams):
    replica = harness.start()
    tenants = "/apis/steno.dev/v1alpha1/tenants"
    name = f"t-{harness.namespace}"[:63]
    spec = {"namespaces": [harness.namespace], "limits": {"streams": 1}}
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": spec}
    harness.must("POST", tenants, body)

    def usage() -> dict:
        return (harness.must("GET", f"{tenants}/{name}").get("status") or {}).get("usage") or {}

    harness.until("the Tenant is in force", lambda: usage().get("streams") == 0)
    streams.pool()
    streams.session("first")
    [pod] = streams.warm()
    status = streams.wait("session", "first", "EndpointReady")
    assert claims_of(streams.secret(status["tokenSecretName"]), streams.deployment())["tenant"] == name
    assert usage()["streams"] == 1
    streams.session("second")
    refused = streams.wait("session", "second", "Failed", "QuotaExceeded")
    assert refused["phase"] == "Failed"
    assert "may use 1 streams" in streams.condition("session", "second", "Failed")["message"]
    assert "tokenSecretName" not in refused
    streams.send_report(replica, pod, streams.session_report("first", {"reason": "ClientEnded"}, audioSeconds=90))
    streams.wait("session", "first", "Complete")
    harness.until("its place is free", lambda: usage()["streams"] == 0)
    assert (usage()["audioMillisToday"], usage()["audioMinutesToday"]) == (90_000, 1)
    streams.session("third")
    streams.wait("session", "third", "Admitted")
    harness.must("DELETE", f"{tenants}/{name}")


def test_a_session_without_a_tenant_waits_where_one_is_required(harness, streams):
    harness.start(tenantless_namespaces="refuse")
    streams.session()
    assert streams.wait("session", "call", "Accepted", "NoTenant", status="False")["phase"] in ("Pending", "Waiting")
    pools = streams.harness.list(streams.path("pool"))
    assert pools == []  # nothing is started for it
