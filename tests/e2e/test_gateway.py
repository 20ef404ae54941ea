"""The gateway: the original engines' requests, unchanged but for a key, as curl sends them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

from hack import uv
from hack.deploy import GATEWAY_BUCKET, NAMESPACE
from tests.e2e import media, scans, streams
from tests.e2e.kube import GROUP, PLURAL, VERSION, Kube, Store
from tests.e2e.scoring import reference_text, word_error_rate

PODS = "app.kubernetes.io/name=steno-gateway"
FIELDS = ("meeting_id=meeting_123", "tenant_id=tenant_abc", "user_id=user_xyz", "language=en")


@contextmanager
def forwarded(kube: Kube, port: int = 8001) -> Iterator[str]:
    """The address of a port of the gateway, by `kubectl port-forward`."""
    command = kube.command("port-forward", "service/steno-gateway", f":{port}", namespace=NAMESPACE)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+) ->", process.stdout.readline())
            assert found
            yield f"127.0.0.1:{found[1]}"
        finally:
            process.terminate()


@pytest.fixture
def url(kube: Kube, store: Store) -> Iterator[str]:
    s3 = store.client()
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        s3.create_bucket(Bucket=GATEWAY_BUCKET)
    kube.core.create_namespaced_secret(kube.namespace, store.secret("steno-store"))
    with forwarded(kube) as found:
        yield f"http://{found}"


def ready_replicas(kube: Kube) -> set[str]:
    """The names of the gateway's pods; none while one of them is not ready."""
    pods = kube.core.list_namespaced_pod(NAMESPACE, label_selector=PODS).items
    conditions = [{each.type: each.status for each in pod.status.conditions or ()} for pod in pods]
    return {pod.metadata.name for pod in pods} if all(each.get("Ready") == "True" for each in conditions) else set()


def steno_key(kube: Kube, *words: str) -> str:
    """What `steno key …` prints."""
    command = uv.tool("steno", "key", *words, "--kubeconfig", str(kube.info.kubeconfig))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def curl(*words: str | Path) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    options = ("--silent", "--show-error", "--max-time", "300", "--write-out", "\n%{http_code}")
    command = ["curl", *options, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_the_original_requests_are_answered(kube: Kube, url: str, tmp_path: Path) -> None:
    key = steno_key(kube, "create", "--tenant", kube.namespace, "--for-namespace", kube.namespace)
    bearer = ("-H", f"Authorization: Bearer {key}")
    assert curl(f"{url}/health")[1]["status"] == "ok"
    fields = [word for field in FIELDS for word in ("-F", field)]
    status, transcript = curl(f"{url}/stt/upload", *bearer, "-F", f"file=@{media.sample('.wav')}", *fields)
    assert status == 200, transcript
    assert transcript["meeting_id"] == "meeting_123"
    assert transcript["has_diarization"] is True
    assert word_error_rate(reference_text(media.sample(".stm")), transcript) < 0.3
    page = scans.make(tmp_path)["pages-en.tiff"]
    status, document = curl(f"{url}/ocr/process", *bearer, "-F", f"file=@{page}", "-F", "languages=en")
    assert status == 200, document
    assert scans.character_error_rate(scans.text("en"), document["text"]) < 0.02
    steno_key(kube, "revoke", key)
    until = time.monotonic() + 5
    while curl(f"{url}/stt/status", *bearer)[0] != 401:
        assert time.monotonic() < until


def test_openais_sdk_transcribes(kube: Kube, url: str) -> None:
    key = steno_key(kube, "create", "--tenant", kube.namespace, "--for-namespace", kube.namespace)
    sample = media.sample(".wav")
    with openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, timeout=300) as client:
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=sample, response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        assert word_error_rate(reference_text(media.sample(".stm")), {"transcript": answer.text}) < 0.3
        assert answer.language == "english"
        assert answer.words
        assert answer.words[-1].end <= answer.duration
        spoken = client.audio.transcriptions.create(
            model="whisper-1", file=sample, response_format="diarized_json", stream=True
        )
        events = list(spoken)
    assert "".join(each.delta for each in events if each.type == "transcript.text.delta") == events[-1].text
    assert {each.speaker for each in events if each.type == "transcript.text.segment"} >= {"A"}


@pytest.mark.disruptive
def test_a_job_outlives_the_replica_that_took_it(kube: Kube, url: str) -> None:
    key = steno_key(kube, "create", "--tenant", kube.namespace, "--for-namespace", kube.namespace)
    bearer = ("-H", f"Authorization: Bearer {key}")
    sample = f"file=@{media.sample('.wav')}"
    status, taken = curl(f"{url}/stt/upload?async=true", *bearer, "-F", sample, "-H", "Idempotency-Key: call-7")
    assert status == 202, taken
    before = ready_replicas(kube)
    for pod in before:
        kube.core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
    # Not the Deployment's status: for a moment it counts the replicas that are gone.
    deadline = time.monotonic() + 120
    while len(now := ready_replicas(kube)) != len(before) or now & before:
        assert time.monotonic() < deadline, now
        time.sleep(0.2)
    with forwarded(kube) as found:
        again = f"http://{found}"
        status, repeated = curl(f"{again}/stt/upload", *bearer, "-F", sample, "-H", "Idempotency-Key: call-7")
        assert status == 200, repeated
        state = curl(f"{again}{taken['status_url']}", *bearer)[1]
    assert (state["status"], state["result"]) == ("succeeded", repeated)
    assert len(kube.custom.list_namespaced_custom_object(GROUP, VERSION, kube.namespace, PLURAL)["items"]) == 1


# What JSON.stringify makes of the objects in the original engine's example.
START = (
    '{"type":"start_session","session_id":"session_123","tenant_id":"tenant_abc","meeting_id":"meeting_456",'
    '"language":"ko"}'
)


@pytest.mark.streams
def test_the_original_websocket_messages_are_answered(kube: Kube, url: str) -> None:
    streams.pool(kube, minReplicas=1, service={"type": "ClusterIP"}, endpoints={})
    who = ("--tenant", kube.namespace, "--for-namespace", kube.namespace)
    key = steno_key(kube, "create", *who, "--scopes", "stream")
    address = f"ws{url.removeprefix('http')}/stt/realtime"
    received = streams.Received()
    with connect(f"{address}?api_key={key}", proxy=None) as socket:  # as a browser, which sets no header
        socket.send(START)
        for chunk in streams.paced(streams.pcm(media.sample(".wav"))):
            socket.send(f'{{"type":"audio_chunk","audio_data":"{base64.b64encode(chunk).decode()}"}}')
        socket.send('{"type":"end_session"}')
        streams.receive(socket, received)
    assert received.code == 1000, received.events[-1]
    started, last = received.events[0], received.events[-1]
    assert (started["type"], started["session_id"]) == ("session_started", "session_123")
    assert started["meeting_id"] == "meeting_456"
    assert received.of("partial")
    assert {final["language"] for final in received.of("final")} == {"ko"}
    assert last["type"] == "session_ended"
    (session,) = kube.custom.list_namespaced_custom_object(GROUP, VERSION, kube.namespace, "streamsessions")["items"]
    assert session["spec"]["metadata"] == {"session_id": "session_123", "tenant_id": "tenant_abc"}
    with connect(address, additional_headers={"X-API-Key": key}, proxy=None) as socket:
        socket.send('{"type":"start_session","session_id":"session_123"}')
        assert json.loads(socket.recv(timeout=60))["session_id"] == "session_123", "the ended one has made way"
        steno_key(kube, "revoke", key)
        begun, again = time.monotonic(), streams.Received()
        streams.receive(socket, again)
    assert (again.code, again.events[-1]["code"]) == (4001, "KeyInvalid")
    assert time.monotonic() - begun < 5
