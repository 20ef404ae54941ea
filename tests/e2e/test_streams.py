"""Sessions over the published endpoints, in real time: speech comes out as text, whatever else is connected."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from socket import SHUT_RDWR
from threading import Event
from typing import Any

import grpc
import jwt
import pytest
from kubernetes import client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hack.deploy import NAMESPACE
from tests.e2e import media, scoring, streams
from tests.e2e.kube import SECRET, Kube, Store, cluster_name, condition, is_true
from tests.e2e.streams import Received

Figure = Callable[[str], None]
WORD_ERRORS = 0.35
SIDE_BY_SIDE = 8

pytestmark = [pytest.mark.streams]


@pytest.fixture(scope="module")
def pool(store: Store) -> Generator[Kube]:
    """A namespace with a pool that serves; deleted afterwards."""
    kube = Kube(cluster_name(), "e2e-streams")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.core.create_namespace({"metadata": {"name": kube.namespace, "labels": labels}})
    kube.core.create_namespaced_secret(kube.namespace, store.secret(SECRET))
    streams.pool(kube, minReplicas=1)
    yield kube
    kube.core.delete_namespace(kube.namespace, body=client.V1DeleteOptions(propagation_policy="Background"))


@pytest.fixture(scope="module")
def recording() -> bytes:
    return streams.pcm(media.sample(".wav"))


@pytest.fixture(scope="module")
def alone(pool: Kube, recording: bytes) -> Received:
    """What one session hears when no other is there."""
    return streams.talk(*ready(pool, "alone"), streams.chunks(recording))


def ready(kube: Kube, name: str, **spec: Any) -> tuple[str, str]:
    """Create a session, and return its WebSocket's URL and its token once it can be used."""
    streams.session(kube, name, **spec)
    found = kube.until(name, lambda one: is_true(one, "EndpointReady"), timeout=240, what="EndpointReady")
    return endpoint(found, "WebSocket"), token(kube, found)


def endpoint(session: dict[str, Any], protocol: str) -> str:
    return next(one["url"] for one in session["status"]["endpoints"] if one["protocol"] == protocol)


def token(kube: Kube, session: dict[str, Any]) -> str:
    secret = kube.core.read_namespaced_secret(session["status"]["tokenSecretName"], kube.namespace)
    return base64.b64decode(secret.data["token"]).decode()


def word_errors(found: str) -> float:
    return scoring.word_error_rate(scoring.reference_text(media.sample(".stm")), {"transcript": found})


def test_a_conversation_in_real_time(pool: Kube, store: Store, recording: bytes, figure: Figure) -> None:
    url, bearer = ready(pool, "call", meetingID="standup #7")
    received = streams.talk(url, bearer, streams.paced(recording), as_json=True, session_id="call", language="en")
    assert received.code == 1000
    assert [event["type"] for event in received.events[:1]] == ["session_started"]
    assert received.of("partial"), "nothing was shown while they spoke"
    errors = word_errors(received.text)
    ended = pool.complete("call")
    stats = ended["status"]["stats"]
    figure(
        f"stream, one alone: word error rate {errors:.3f}, p95 in ms partial {stats['partialLatencyMillis']},"
        f" final {stats['finalLatencyMillis']}"
    )
    assert errors <= WORD_ERRORS
    assert stats["audioSeconds"] == pytest.approx(len(recording) / 2 / streams.SAMPLE_RATE, abs=0.1)
    assert condition(ended, "Complete")["reason"] == "ClientEnded"
    document = store.document(ended)
    assert document["meeting_id"] == "standup #7"
    assert [segment["text"] for segment in document["segments"]]
    assert document["transcript"].split() == received.text.split()


def test_a_conversation_over_grpc(pool: Kube, recording: bytes, figure: Figure) -> None:
    streams.session(pool, "grpc")
    found = pool.until("grpc", lambda one: is_true(one, "EndpointReady"), what="EndpointReady")
    received = streams.talk_grpc(endpoint(found, "GRPC"), token(pool, found), streams.paced(recording))
    errors = word_errors(received.text)
    figure(f"stream over gRPC: word error rate {errors:.3f}")
    assert errors <= WORD_ERRORS
    pool.complete("grpc")


def test_eight_at_once_get_the_finals_of_one_alone(
    pool: Kube, alone: Received, recording: bytes, figure: Figure
) -> None:
    sessions = [ready(pool, f"crowd-{number}") for number in range(SIDE_BY_SIDE)]
    started = time.monotonic()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        calls = [threads.submit(streams.talk, url, bearer, streams.paced(recording)) for url, bearer in sessions]
        crowd = [call.result() for call in calls]
    length = len(recording) / 2 / streams.SAMPLE_RATE
    figure(f"eight streams of {length:.0f} s at once: done after {time.monotonic() - started:.0f} s")
    assert alone.finals
    for received in crowd:
        assert received.finals == alone.finals
    for number in range(SIDE_BY_SIDE):
        pool.complete(f"crowd-{number}")


def test_bad_clients_do_not_disturb_others(pool: Kube, alone: Received, recording: bytes) -> None:
    """While one session runs: no token, wrong and expired ones, others' true ones; audio too soon; garbage."""
    url, bearer = ready(pool, "victim")
    other_url, other = ready(pool, "other")
    _, rival = ready(pool, "rival", tenantRef={"name": "rival"})
    target = endpoint(pool.get("victim"), "GRPC")
    good = ready(pool, "good")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(streams.talk, *good, streams.paced(recording))
        claims = jwt.decode(bearer, options={"verify_signature": False})
        key = signing_key(pool)
        expired = jwt.encode({**claims, "exp": int(time.time()) - 120}, key, "EdDSA")
        foreign = jwt.encode({**claims, "aud": "steno-pool:elsewhere/default"}, key, "EdDSA")
        for wrong in ("x" * 40, bearer[:-4] + "AAAA", expired, foreign):
            assert refused_before_handshake(url, wrong) == 401
        for true in (other, rival):  # good for its own session only
            assert refused_before_handshake(url, true) == 403
        start = json.dumps({"type": "start_session"})
        assert close_code(url, start) == 4001
        assert close_code(url, json.dumps({"type": "start_session", "token": rival})) == 4003
        assert close_code(url, bytes(3200), bearer) == 1007  # audio before start_session
        assert streams.talk(url, bearer, iter(()), tenant_id="somebody-else").code == 4003
        assert close_code(url, start, bearer, then="{this is not JSON") == 1007
        webm = base64.b64encode(bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d") + bytes(64))
        container = json.dumps({"type": "audio_chunk", "audio_data": webm.decode()})
        assert close_code(other_url, start, other, then=container) == 1007
        assert grpc_refusal(target, None, "victim") is grpc.StatusCode.UNAUTHENTICATED
        assert grpc_refusal(target, rival, "victim") is grpc.StatusCode.PERMISSION_DENIED
        assert call.result().finals == alone.finals
    pool.complete("good")


def refused_before_handshake(url: str, bearer: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers={"Authorization": f"Bearer {bearer}"}, open_timeout=30)
    return refused.value.response.status_code


def close_code(url: str, first: str | bytes, bearer: str | None = None, *, then: str | None = None) -> int | None:
    """Send an invalid message, at once or after the session has started, and return the close code."""
    received = Received()
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    with connect(url, additional_headers=headers, open_timeout=30) as socket:
        socket.send(first)
        if then is not None:
            streams.receive(socket, received, until=lambda event: event["type"] == "session_started")
            socket.send(then)
        streams.receive(socket, received)
    assert received.of("error")[0]["fatal"]
    return received.code


def grpc_refusal(target: str, bearer: str | None, session: str) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        streams.talk_grpc(target, bearer, iter([bytes(3200)]), session_id=session)
    return refused.value.code()


def signing_key(kube: Kube) -> str:
    secret = kube.core.read_namespaced_secret("steno-operator-session-key", NAMESPACE)
    return next(
        text for text in (base64.b64decode(value).decode() for value in secret.data.values()) if "PRIVATE KEY" in text
    )


@contextmanager
def bystander(kube: Kube, name: str, recording: bytes, alone: Received) -> Generator[None]:
    """A session that speaks before and after what happens meanwhile: it hears what it hears alone."""
    url, bearer = ready(kube, name, idleTimeoutSeconds=240)
    half, goes_on = len(recording) // 4 * 2, Event()

    def audio() -> Iterator[bytes]:
        yield from streams.chunks(recording[:half])
        assert goes_on.wait(timeout=240)
        yield from streams.chunks(recording[half:])

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(streams.talk, url, bearer, audio())
        try:
            kube.until(name, lambda one: is_true(one, "Active"), what="Active")
            yield
        finally:
            goes_on.set()
        assert call.result().finals == alone.finals
    kube.complete(name)


def test_a_client_that_vanishes_leaves_what_it_said(
    pool: Kube, store: Store, recording: bytes, alone: Received
) -> None:
    with bystander(pool, "beside-gone", recording, alone):
        url, bearer = ready(pool, "gone")
        received = Received()
        socket = streams.start(url, bearer)
        for chunk in islice(streams.chunks(recording), 88):  # 22 s: no utterance is longer than 17
            socket.send(chunk)
        streams.receive(socket, received, until=lambda event: event["type"] == "final")
        socket.socket.shutdown(SHUT_RDWR)  # the connection breaks, without a word of WebSocket
        ended = pool.complete("gone")
    assert condition(ended, "Complete")["reason"] == "ClientGone"
    assert store.document(ended)["transcript"].startswith(received.finals[0])


def test_a_client_that_never_speaks_is_disconnected(pool: Kube, recording: bytes, alone: Received) -> None:
    with bystander(pool, "beside-mute", recording, alone):
        url, bearer = ready(pool, "mute", idleTimeoutSeconds=3)
        received = Received()
        with streams.start(url, bearer) as socket:
            streams.receive(socket, received)
        assert received.code == 4008
        ended = pool.complete("mute")
    assert condition(ended, "Complete")["reason"] == "IdleTimeout"


def test_deleting_the_resource_ends_the_session(pool: Kube, recording: bytes) -> None:
    url, bearer = ready(pool, "deleted")
    received = Received()
    with streams.start(url, bearer) as socket:
        socket.send(next(streams.chunks(recording)))
        pool.until("deleted", lambda one: is_true(one, "Active"), what="Active")
        pool.kubectl("delete", "ss", "deleted")
        streams.receive(socket, received)
    assert received.of("session_ended")[0]["reason"] == "Deleted"
    assert streams.talk(url, bearer, iter(())).code == 4009  # its token is good for nothing any more
