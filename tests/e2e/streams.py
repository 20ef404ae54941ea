"""Clients of a stream: the WebSocket with its original messages, gRPC, and the pool they connect to."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from hack.cluster import config
from tests.e2e.kube import BASE, RESULTS, Kube

SAMPLE_RATE = 16_000
CHUNK_SECONDS = 0.25
POOL = "default"


def pcm(file: Path, rate: int = SAMPLE_RATE) -> bytes:
    """A recording as 16-bit mono samples."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(str(file)) as container:
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames]).astype("<i2").tobytes()


def chunks(samples: bytes, rate: int = SAMPLE_RATE) -> Iterator[bytes]:
    """The samples as a microphone would give them."""
    size = int(CHUNK_SECONDS * rate) * 2
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size]


def paced(samples: bytes, rate: int = SAMPLE_RATE) -> Iterator[bytes]:
    """The same, in real time."""
    started = time.monotonic()
    for number, chunk in enumerate(chunks(samples, rate)):
        yield chunk
        time.sleep(max(0.0, started + (number + 1) * CHUNK_SECONDS - time.monotonic()))


@dataclass
class Received:
    """What a server said in one session."""

    events: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None
    """How the WebSocket was closed."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def finals(self) -> list[str]:
        return [event["text"] for event in self.of("final")]

    @property
    def text(self) -> str:
        return " ".join(self.finals)


def start(url: str, token: str, **fields: Any) -> ClientConnection:
    """Open a WebSocket and start the session."""
    socket = _connected(url, token)
    socket.send(json.dumps({"type": "start_session", **fields}))
    return socket


def _connected(url: str, token: str) -> ClientConnection:
    """Return a connection, with retries.

    A pod is ready a moment before every node's proxy knows of it: until then a connection is dropped at once.
    """
    until = time.monotonic() + 20
    while True:
        try:
            return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=30)
        except (ConnectionClosed, InvalidMessage, EOFError, ConnectionError):
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


def receive(
    socket: ClientConnection, received: Received, *, until: Callable[[dict[str, Any]], bool] | None = None
) -> None:
    """Collect the server's events until it closes the connection, or sends the awaited one."""
    try:
        for message in socket:
            event = json.loads(message)
            received.events.append(event)
            if until is not None and until(event):
                return
    except ConnectionClosed as closed:
        received.code = closed.rcvd.code if closed.rcvd else None
    else:
        received.code = socket.close_code


def talk(url: str, token: str, audio: Iterator[bytes], *, as_json: bool = False, **fields: Any) -> Received:
    """A whole session over the WebSocket: sends and receives at once, as clients do."""
    received = Received()
    with start(url, token, **fields) as socket:
        listener = threading.Thread(target=receive, args=(socket, received))
        listener.start()
        with suppress(ConnectionClosed):  # the listener has the code
            for chunk in audio:
                if as_json:
                    body = {"type": "audio_chunk", "audio_data": base64.b64encode(chunk).decode()}
                    socket.send(json.dumps(body))
                else:
                    socket.send(chunk)
            socket.send(json.dumps({"type": "end_session"}))
        listener.join(timeout=180)
        assert not listener.is_alive(), f"the server never ended the session: {received.events[-3:]}"
    return received


def talk_grpc(target: str, token: str | None, audio: Iterator[bytes], *, session_id: str = "") -> Received:
    """The same over gRPC."""
    from steno_api.pb.steno.v1 import stt_pb2, stt_pb2_grpc

    received = Received()
    with grpc.insecure_channel(target) as channel:
        stub = stt_pb2_grpc.STTServiceStub(channel)
        requests = (stt_pb2.AudioChunk(audio_data=chunk, session_id=session_id) for chunk in audio)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        for event in stub.StreamingRecognize(requests, metadata=metadata, timeout=240):
            received.events.append({"type": "final" if event.is_final else "partial", "text": event.text})
    return received


def pool(kube: Kube, **spec: Any) -> None:
    """Create the namespace's pool, reachable from this host."""
    kube.kubectl(
        "apply", "-f", "-",
        stdin=json.dumps(
            {
                "apiVersion": "steno.dev/v1alpha1",
                "kind": "RuntimePool",
                "metadata": {"name": POOL, "namespace": kube.namespace},
                "spec": {
                    "profileRef": {"name": "gpu"},
                    "model": BASE,
                    "sessionsPerReplica": 16,
                    "output": kube.s3(),
                    "service": {
                        "type": "NodePort",
                        "allowPlaintext": True,
                        "httpNodePort": config.STREAM_HTTP_NODE_PORT,
                        "grpcNodePort": config.STREAM_GRPC_NODE_PORT,
                    },
                    "endpoints": {
                        "websocketURL": f"ws://{kube.info.stream_http}",
                        "grpcURL": kube.info.stream_grpc,
                    },
                    **spec,
                },
            }
        ),
    )  # fmt: skip


def session(kube: Kube, name: str, **spec: Any) -> None:
    """Applies a StreamSession; from now on `kube` is about them."""
    kube.plural = "streamsessions"
    kube.create(
        {
            "apiVersion": "steno.dev/v1alpha1",
            "kind": "StreamSession",
            "metadata": {"name": name, "namespace": kube.namespace},
            "spec": {
                "language": "en",
                "output": {"uri": f"s3://{RESULTS}", "formats": ["json", "txt"], **kube.s3()},
                **spec,
            },
        }
    )
