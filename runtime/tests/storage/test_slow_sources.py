"""Sources that deliver as slowly as they please: the worker that waits holds an accelerator, and gives up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from runtime.tests.conftest import LOOPBACK, Web, mounted_secret
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.serve.uploads.allowed_sources import AllowedSources
from steno_runtime.storage import download, fetch
from steno_runtime.storage import web as web_source
from steno_runtime.storage.common import Retry

from .test_web import read

FAST = Retry(attempts=3, first_pause=0.01, max_pause=0.02)
DRIPS = 150
"""Bytes, one every 20 ms: three seconds, after which the source is whole and would be taken."""

Drip = Callable[[BaseHTTPRequestHandler, bytes], None]


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test ends."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def sent() -> list[int]:
    """The bytes that were sent one by one."""
    return []


@pytest.fixture
def drip(over: threading.Event, sent: list[int]) -> Drip:
    """Sends data byte by byte, until the test ends."""

    def send(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for number in range(len(data)):
                if over.wait(0.02):
                    return
                handler.wfile.write(data[number : number + 1])
                handler.wfile.flush()
                sent.append(data[number])

    return send


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WINDOW_SECONDS", 0.3)
    monkeypatch.setattr(download, "OUTAGE_SECONDS", 0.6)
    monkeypatch.setattr(web_source, "HEAD_SECONDS", 0.3)


def too_slow(web: Web, folder, **fields) -> WorkError:
    with pytest.raises(WorkError) as caught:
        read(f"{web.url}/a.wav", folder, **fields)
    assert caught.value.reason is FailureReason.SOURCE_UNAVAILABLE
    return caught.value


def begin(handler: BaseHTTPRequestHandler, length: int, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(length))
    handler.send_header("Last-Modified", "Sat, 21 Nov 2026 04:00:00 GMT")
    handler.send_header("ETag", '"v1"')
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


@pytest.mark.parametrize("at_once", [0, 4 << 20])
def test_m12_a_source_that_drips_is_given_up_however_fast_it_began(web, tmp_path, drip, at_once):
    def answer(handler):
        begin(handler, at_once + DRIPS)
        handler.wfile.write(bytes(at_once))
        drip(handler, bytes(DRIPS))

    web.routes["/a.wav"] = answer
    error = too_slow(web, tmp_path)
    assert "comes too slowly" in error.message
    assert "64.0 KiB a second" in error.message
    assert "minSourceBytesPerSecond of the RuntimeProfile" in error.message
    assert len(web.requests) == 1


def test_m12_a_source_that_breaks_off_after_each_byte_is_given_up(web, tmp_path, over):
    def answer(handler):
        asked = web.requests[-1][1].get("range", "bytes=0-")
        offset = int(asked.removeprefix("bytes=").rstrip("-"))
        part = {"Content_Range": f"bytes {offset}-{DRIPS - 1}/{DRIPS}"} if offset else {}
        over.wait(0.02)
        begin(handler, DRIPS - offset, 206 if offset else 200, **part)
        handler.wfile.write(b"x")
        handler.close_connection = True

    web.routes["/a.wav"] = answer
    assert "comes too slowly" in too_slow(web, tmp_path).message
    assert len(web.requests) > FAST.attempts


def test_m12_the_head_of_an_answer_does_not_drip_either(web, tmp_path, drip):
    def answer(handler):
        drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-More: " + b"x" * DRIPS + b"\r\n\r\nx")

    web.routes["/a.wav"] = answer
    assert "did not answer in time" in too_slow(web, tmp_path).message
    assert len(web.requests) == FAST.attempts


def test_m12_an_object_of_s3_that_drips_is_given_up(web, tmp_path, drip, sent):
    def answer(handler):
        begin(handler, DRIPS)
        drip(handler, bytes(DRIPS))

    web.routes["/meetings/a.wav"] = answer
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": web.url}
    mounted_secret(tmp_path, **keys, allowedPrefix=web.url, allowPlainHTTP="true")
    source = TaskSource(uri="s3://meetings/a.wav", credentials_dir=str(tmp_path))
    with pytest.raises(WorkError, match="comes too slowly") as caught:
        fetch(source, tmp_path, check=lambda: None, on_bytes=lambda *_: None, egress=LOOPBACK, retry=FAST)
    assert caught.value.reason is FailureReason.SOURCE_UNAVAILABLE
    assert len(sent) < DRIPS, "it is not waited for until it is whole"


def test_what_the_profile_says_is_slow_enough_is_waited_for(web, tmp_path, drip):
    def answer(handler):
        begin(handler, DRIPS)
        drip(handler, bytes(DRIPS))

    web.routes["/a.wav"] = answer
    assert read(f"{web.url}/a.wav", tmp_path, min_bytes_per_second=10) == bytes(DRIPS)
    assert read(f"{web.url}/a.wav", tmp_path, min_bytes_per_second=0) == bytes(DRIPS)


def test_m12_servers_do_not_wait_for_a_slow_url_of_a_client(web, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WINDOW_SECONDS", 0.0)
    url = web.serve("/a.wav", bytes(1 << 20))
    for rate, slow in ((0, False), (10**12, True)):
        sources = AllowedSources([web.url], None, LOOPBACK, least_rate=rate)
        with pytest.raises(WorkError, match="comes too slowly") if slow else contextlib.nullcontext():
            sources.fetch(url, tmp_path, check=lambda: None, on_bytes=lambda *_: None)
