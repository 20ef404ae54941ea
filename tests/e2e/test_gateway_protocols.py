"""The gateway's other ways in: gRPC under both names, OpenAI's Realtime API, files that go straight to the store."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest

from hack.deploy import GATEWAY_BUCKET
from steno_api.pb.steno.v1 import ocr_pb2, stt_pb2
from tests.e2e import media, scans, streams
from tests.e2e.kube import Kube, Store, finished
from tests.e2e.scoring import reference_text, word_error_rate
from tests.e2e.test_gateway import curl, forwarded, steno_key, url

__all__ = ["url"]  # a fixture

GRPC_PORT = 9090
NAMES = ("steno.v1.", "")
"""Before the names of services: as ours are, and as in the original proto."""
LIVE_WORD_ERRORS, WORD_ERRORS = 0.35, 0.3
ITEM = "conversation.item.input_audio_transcription"
REALTIME_RATE = 24_000


def key_of(kube: Kube, *scopes: str) -> str:
    who = ("--tenant", kube.namespace, "--for-namespace", kube.namespace)
    return steno_key(kube, "create", *who, "--scopes", ",".join(scopes))


def errors_of(text: str) -> float:
    return word_error_rate(reference_text(media.sample(".stm")), {"transcript": text})


@pytest.mark.streams
def test_grpc_transcribes_live_under_both_names(kube: Kube, url: str) -> None:
    del url  # its bucket and Secret
    streams.pool(kube, minReplicas=1, service={"type": "ClusterIP"}, endpoints={})
    key, samples = key_of(kube, "stream"), streams.pcm(media.sample(".wav"))

    def spoken(session_id: str) -> Iterator[stt_pb2.AudioChunk]:
        config = stt_pb2.StreamConfig(language="en", tenant_id="tenant_abc", meeting_id="meeting_456")
        yield stt_pb2.AudioChunk(session_id=session_id, config=config)
        for chunk in streams.paced(samples):
            yield stt_pb2.AudioChunk(audio_data=chunk)
        yield stt_pb2.AudioChunk(is_last=True)

    with forwarded(kube, GRPC_PORT) as target, grpc.insecure_channel(target) as channel:
        for prefix in NAMES:
            method = channel.stream_stream(
                f"/{prefix}STTService/StreamingRecognize",
                stt_pb2.AudioChunk.SerializeToString,
                stt_pb2.TranscriptEvent.FromString,
            )
            session_id = f"session_{prefix}123"
            call = method(spoken(session_id), metadata=(("x-api-key", key),), timeout=400)
            events = list(call)
            assert call.code() == grpc.StatusCode.OK
            assert {event.session_id for event in events} == {session_id}
            shown = [event.type for event in events if event.type not in (stt_pb2.PARTIAL, stt_pb2.FLOW)]
            assert (shown[0], shown[-1]) == (stt_pb2.SESSION_STARTED, stt_pb2.SESSION_ENDED)
            assert errors_of(" ".join(event.text for event in events if event.type == stt_pb2.FINAL)) < LIVE_WORD_ERRORS


def test_grpc_reads_documents_under_both_names(kube: Kube, url: str, tmp_path: Path) -> None:
    del url  # its bucket and Secret
    page = scans.make(tmp_path)["page.png"].read_bytes()
    coders = (ocr_pb2.DocumentRequest.SerializeToString, ocr_pb2.OCRResponse.FromString)
    metadata = (("authorization", f"Bearer {key_of(kube, 'ocr')}"),)
    request = ocr_pb2.DocumentRequest(document_id="doc_1", content=page, languages=["en"], tenant_id="tenant_abc")
    with forwarded(kube, GRPC_PORT) as target, grpc.insecure_channel(target) as channel:
        process = channel.unary_unary(f"/{NAMES[0]}OCRService/ProcessDocument", *coders)
        response = process(request, metadata=metadata, timeout=400)
        assert response.document_id == "doc_1"
        assert response.text.strip()
        batch = channel.stream_stream(f"/{NAMES[1]}OCRService/BatchProcess", *coders)
        refused = ocr_pb2.DocumentRequest(document_id="doc_2", document_url="pvc://claim/a.pdf")
        answers = list(batch(iter([refused, request]), metadata=metadata, timeout=400))
    assert [(answer.document_id, bool(answer.error.code)) for answer in answers] == [("doc_2", True), ("doc_1", False)]
    assert answers[1].text == response.text


@pytest.mark.streams
def test_openais_sdk_transcribes_live(kube: Kube, url: str) -> None:
    streams.pool(kube, minReplicas=1, service={"type": "ClusterIP"}, endpoints={})
    samples = streams.pcm(media.sample(".wav"), REALTIME_RATE)
    heard: list[str] = []
    with (
        openai.OpenAI(api_key=key_of(kube, "stream"), base_url=f"{url}/v1", max_retries=0) as client,
        client.realtime.connect(
            extra_query={"intent": "transcription"}, websocket_connection_options={"proxy": None}
        ) as connection,
    ):
        assert connection.recv().type == "session.created"
        spoken = {"model": "gpt-4o-transcribe", "language": "en"}
        audio = {"input": {"format": {"type": "audio/pcm", "rate": REALTIME_RATE}, "transcription": spoken}}
        connection.session.update(session={"type": "transcription", "audio": audio})  # pyright: ignore[reportArgumentType]
        assert connection.recv().type == "session.updated"

        def speak() -> None:
            for chunk in streams.paced(samples, REALTIME_RATE):
                connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
            connection.input_audio_buffer.commit()

        speaker = threading.Thread(target=speak)
        speaker.start()
        event: Any
        for event in connection:  # until the gateway ends it, at the latest
            assert event.type != "error", event
            if event.type == f"{ITEM}.completed":
                heard.append(event.transcript)
                if errors_of(" ".join(heard)) < LIVE_WORD_ERRORS:
                    break
        speaker.join()
    assert errors_of(" ".join(heard)) < LIVE_WORD_ERRORS


def test_a_file_that_goes_straight_to_the_store_becomes_a_job(kube: Kube, url: str, store: Store) -> None:
    bearer = ("-H", f"Authorization: Bearer {key_of(kube, 'stt')}")
    status, offered = curl("-X", "POST", f"{url}/v1/uploads", *bearer)
    assert status == 201, offered
    put = httpx.request(
        offered["method"], offered["url"], content=media.sample(".wav").read_bytes(), trust_env=False, timeout=60
    )
    assert put.status_code == 200, put.text
    body = json.dumps({"kind": "TranscriptionJob", "spec": {"source": {"upload": offered["id"]}, "language": "en"}})
    status, job = curl(f"{url}/v1/jobs", *bearer, "-H", "Content-Type: application/json", "-d", body)
    assert status == 202, job
    kube.until(job["id"], finished, timeout=400, what="its end")
    status, transcript = curl(f"{url}/v1/jobs/{job['id']}/result", *bearer)
    assert status == 200, transcript
    assert word_error_rate(reference_text(media.sample(".stm")), transcript) < WORD_ERRORS
    until = time.monotonic() + 30
    s3, prefix = store.client(), f"uploads/{kube.namespace}/"
    while s3.list_objects_v2(Bucket=GATEWAY_BUCKET, Prefix=prefix).get("Contents"):
        assert time.monotonic() < until, "the upload stays"
        time.sleep(0.2)
