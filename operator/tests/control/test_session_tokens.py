"""Tokens that gateways get of the sessions which they created."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from steno_api.gateway.session_tokens import GATEWAY_LABEL, SESSION_TOKEN_PATH, SessionTokenRequest
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.kube.signing import KeyStore, SigningKey
from steno_operator.control.reports.session_tokens import LIFETIME, SessionTokens
from steno_operator.control.reports.token_review import PodIdentity

from .objects import CREATED
from .streams import Streams, claims_of, post

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
GATEWAY = PodIdentity("steno-system", "steno-gateway-5d8f", "p1", "steno-gateway")
READY = {"endpoints": [{"protocol": "WebSocket", "url": "wss://stt.example.com/stt/realtime", "tls": True}]}
KEY = SigningKey.generate()


def resource(kind: str, name: str, uid: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": "1", "creationTimestamp": CREATED}
    metadata["labels"] = {GATEWAY_LABEL: more.pop("gateway", "steno-gateway")}
    return {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}, **more}


def ask(caller: PodIdentity = GATEWAY, uid: str = "s1", *, keys: bool = True, **session: Any) -> tuple[int, Any]:
    state = ClusterState()
    state.token_keys = KeyStore([KEY], KEY) if keys else None
    state.resources.upsert(resource("RuntimePool", "default", "pool1"))
    state.resources.upsert(resource("StreamSession", "call", "s1", **{"status": READY, **session}))
    request = SessionTokenRequest(namespace="ns", name="call", uid=uid)
    return SessionTokens(["steno-system/steno-gateway"]).take(state, caller, request, NOW)


def test_a_gateway_gets_a_token_of_its_session_and_its_address_in_the_cluster():
    code, answer = ask(spec={"metadata": {"session_id": "회의 1"}, "meetingID": "m"})
    assert code == 200
    assert answer["url"] == "ws://default-pool.ns.svc:8080/stt/realtime?session=ns/call"
    claims = jwt.decode(answer["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["uid"], claims["meetingID"]) == ("ns/call", "s1", "m")
    assert (claims["tenant"], claims["metadata"]) == ("ns", {"session_id": "회의 1"})
    assert datetime.fromtimestamp(claims["exp"], UTC) == NOW + LIFETIME


@pytest.mark.parametrize(
    ("expected", "asked"),
    [
        (403, {"caller": PodIdentity("team-a", "x", "p1", "steno-gateway")}),
        (403, {"caller": PodIdentity("steno-system", "x", "p1", "default")}),
        (403, {"caller": PodIdentity("steno-system", "x", "p1")}),
        (404, {"uid": "s2"}),
        (404, {"gateway": "another"}),
        (404, {"gateway": ""}),
        (409, {"status": {}}),
        (409, {"status": {**READY, "completionTime": CREATED}}),
        (409, {"spec": {"poolRef": {"name": "gone"}}}),
        (409, {"spec": {"language": 7}}),
        (503, {"keys": False}),
    ],
)
def test_what_no_token_is_given_for(expected: int, asked: dict[str, Any]):
    assert ask(**asked)[0] == expected


@pytest.mark.apiserver
def test_a_real_gateway_is_known_by_its_service_account_and_its_label(harness):
    streams, namespace = Streams(harness), harness.namespace
    harness.server.service_account_token(namespace, "gw")  # makes the account
    pod = harness.must(
        "POST",
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "metadata": {"name": "gw-1"},
            "spec": {"serviceAccountName": "gw", "containers": [{"name": "a", "image": "a"}]},
        },
    )
    bound = {"name": "gw-1", "uid": pod["metadata"]["uid"]}
    token = harness.server.service_account_token(namespace, "gw", audiences=["steno-operator"], pod=bound)
    replica = harness.start(gateways=f"{namespace}/gw")
    streams.pool()
    streams.session("mine")
    streams.session("other")
    harness.patch(streams.path("session", "mine"), {"metadata": {"labels": {GATEWAY_LABEL: "gw"}}})
    [server] = streams.warm()
    streams.wait("session", "mine", "EndpointReady")
    mine, other = streams.ref("session", "mine"), streams.ref("session", "other")

    def answer() -> Any:
        code, body = post(replica, token, mine, SESSION_TOKEN_PATH)
        return body if code == 200 else None

    issued = harness.until("a token", answer)
    assert claims_of(issued["token"], streams.deployment())["sub"] == f"{namespace}/mine"
    assert post(replica, token, other, SESSION_TOKEN_PATH)[0] == 404
    assert post(replica, harness.token(server), mine, SESSION_TOKEN_PATH)[0] == 403
    assert post(replica, "nonsense", mine, SESSION_TOKEN_PATH)[0] == 401
    assert issued["token"] not in replica.log.read_text()
