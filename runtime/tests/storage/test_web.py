"""Sources on a real web server, with everything that web servers do."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.tests.conftest import LOOPBACK, mounted_secret
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskSource
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.storage import fetch
from steno_runtime.storage.common import Retry

DATA = bytes(range(256)) * 16_384  # 4 MiB
FAST = Retry(attempts=3, first_pause=0.01, max_pause=0.02)


def respond(status, data=b"", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(data))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def read(uri: str, folder: Path, *, check=lambda: None, on_bytes=lambda *_: None, **fields) -> bytes:
    return fetch(
        TaskSource(uri=uri, **fields), folder, check=check, on_bytes=on_bytes, egress=LOOPBACK, retry=FAST
    ).read_bytes()


def for_site(web) -> dict[str, str]:
    """The keys of a Secret that is for the whole of a server."""
    return {"allowedPrefix": web.url, "allowPlainHTTP": "true"}


def failure(uri: str, folder: Path, **fields) -> WorkError:
    with pytest.raises(WorkError) as caught:
        read(uri, folder, **fields)
    return caught.value


def test_a_file_is_streamed_with_its_progress(web, tmp_path):
    seen = []
    url = web.serve("/talk.m4a", DATA)
    assert read(url, tmp_path, on_bytes=lambda *args: seen.append(args)) == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert len(seen) > 1
    assert (tmp_path / "source.m4a").exists()


def test_a_file_without_a_length_is_read_to_its_end(web, tmp_path):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(DATA)
        handler.close_connection = True

    web.routes["/live"] = answer
    assert read(f"{web.url}/live", tmp_path) == DATA


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, FailureReason.SOURCE_NOT_FOUND),
        (410, FailureReason.SOURCE_NOT_FOUND),
        (401, FailureReason.SOURCE_FORBIDDEN),
        (403, FailureReason.SOURCE_FORBIDDEN),
        (400, FailureReason.INVALID_SPEC),
        (204, FailureReason.INVALID_SPEC),
        (429, FailureReason.SOURCE_UNAVAILABLE),
        (500, FailureReason.SOURCE_UNAVAILABLE),
        (503, FailureReason.SOURCE_UNAVAILABLE),
    ],
)
def test_an_answer_that_is_not_ok_has_its_reason_and_keeps_secrets(web, tmp_path, status, reason):
    web.routes["/a.wav"] = respond(status, b"" if status == 204 else b"body of the error")
    error = failure(web.url.replace("//", "//user:hunter2@") + "/a.wav?X-Amz-Signature=abc#x", tmp_path)
    assert error.reason is reason
    assert f"{web.url}/a.wav" in error.message
    assert str(status) in error.message
    for secret in ("hunter2", "abc", "body of the error"):
        assert secret not in error.message
    assert len(web.requests) == (FAST.attempts if reason is FailureReason.SOURCE_UNAVAILABLE else 1)


def test_a_server_that_stumbles_is_asked_again(web, tmp_path):
    good = respond(200, DATA)

    def answer(handler):
        (good if len(web.requests) == 3 else respond(500))(handler)

    web.routes["/a.wav"] = answer
    assert read(f"{web.url}/a.wav", tmp_path) == DATA


def dropping(web, *, ranges: bool, etag: str = '"v1"', drops: int = 2):
    """Answers with the rest of DATA from the range on, and breaks the connection off `drops` times."""

    def answer(handler):
        headers = web.requests[-1][1]
        offset = 0
        if ranges and "range" in headers and headers.get("if-range") == etag:
            offset = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if offset else 200)
        handler.send_header("Content-Length", str(len(DATA) - offset))
        if offset:
            handler.send_header("Content-Range", f"bytes {offset}-{len(DATA) - 1}/{len(DATA)}")
        handler.send_header("ETag", etag)
        handler.end_headers()
        end = len(DATA)
        if len(web.requests) <= drops:
            end = offset + (1_500_000 if ranges else 1_000_000 + 100_000 * len(web.requests))
        handler.wfile.write(DATA[offset:end])
        handler.close_connection = True

    return answer


def test_a_dropped_connection_is_resumed_where_it_broke(web, tmp_path):
    web.routes["/a.wav"] = dropping(web, ranges=True)
    assert read(f"{web.url}/a.wav", tmp_path) == DATA
    assert [headers.get("range") is not None for _, headers in web.requests] == [False, True, True]


def test_a_server_that_cannot_resume_is_read_anew(web, tmp_path):
    web.routes["/a.wav"] = dropping(web, ranges=False)
    assert read(f"{web.url}/a.wav", tmp_path) == DATA


def test_a_source_that_never_gets_further_is_given_up(web, tmp_path):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:1000])
        handler.close_connection = True

    web.routes["/a.wav"] = answer
    error = failure(f"{web.url}/a.wav", tmp_path)
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE
    assert len(web.requests) <= FAST.attempts + 1


def test_another_part_than_the_one_asked_for_is_not_taken(web, tmp_path):
    def answer(handler):
        headers = web.requests[-1][1]
        if "range" in headers:
            respond(206, DATA[:10], Content_Range=f"bytes 3000000-3000009/{len(DATA)}")(handler)
        else:
            dropping(web, ranges=True)(handler)

    web.routes["/a.wav"] = answer
    assert failure(f"{web.url}/a.wav", tmp_path).reason is FailureReason.SOURCE_UNAVAILABLE


def test_too_large_by_announcement_is_refused_before_it_is_read(web, tmp_path):
    web.routes["/a.wav"] = respond(200, b"x", Content_Length=str(10 * 1024**3))
    error = failure(f"{web.url}/a.wav", tmp_path, max_bytes=5 * 1024**3)
    assert error.reason is FailureReason.TOO_LARGE
    assert "10.0 GiB" in error.message
    assert "5.0 GiB" in error.message


def test_too_large_without_announcement_is_refused_while_it_is_read(web, tmp_path):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(16):
            handler.wfile.write(DATA)
        handler.close_connection = True

    web.routes["/a.wav"] = answer
    error = failure(f"{web.url}/a.wav", tmp_path, max_bytes=6 * 1024**2)
    assert error.reason is FailureReason.TOO_LARGE
    assert (tmp_path / "source.wav").stat().st_size <= 8 * 1024**2


def test_redirects_are_followed_and_credentials_stay_with_their_host(web_factory, tmp_path):
    web, other = web_factory(), web_factory()
    credentials = mounted_secret(tmp_path / "secret", steno_http_token="tok\n", **for_site(web))
    other.serve("/file", DATA)
    web.routes["/start"] = respond(302, Location="/second")
    web.routes["/second"] = respond(307, Location=f"{other.url}/file")
    assert read(f"{web.url}/start", tmp_path, credentials_dir=credentials) == DATA
    assert [headers.get("authorization") for _, headers in web.requests] == ["Bearer tok", "Bearer tok"]
    assert "authorization" not in other.requests[0][1]


def test_a_user_and_password_are_sent_as_basic(web, tmp_path):
    keys = {"steno_http_username": "ann", "steno_http_password": "pä:ss"}
    web.serve("/file", DATA)
    read(f"{web.url}/file", tmp_path, credentials_dir=mounted_secret(tmp_path / "secret", **keys, **for_site(web)))
    sent = web.requests[0][1]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "ann:pä:ss"


def test_endless_redirects_end(web, tmp_path):
    web.routes["/loop"] = respond(302, Location="/loop")
    error = failure(f"{web.url}/loop", tmp_path)
    assert error.reason is FailureReason.INVALID_SPEC
    assert len(web.requests) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.com/a", "gopher:x"])
def test_redirects_away_from_the_web_are_refused(web, tmp_path, target):
    web.routes["/a"] = respond(302, Location=target)
    assert failure(f"{web.url}/a", tmp_path).reason is FailureReason.INVALID_SPEC


def test_a_closed_port(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = failure(f"http://127.0.0.1:{unused.getsockname()[1]}/a.wav", tmp_path)
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE
    assert "no connection" in error.message


def test_a_certificate_that_is_not_trusted_is_reported_and_not_retried(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-subj", "/CN=127.0.0.1", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            accepted.append(connection)
            with pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        error = failure(f"https://127.0.0.1:{server.getsockname()[1]}/a.wav", tmp_path)
        thread.join()
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE
    assert "certificate is not trusted" in error.message


def test_reading_stops_when_asked_to(web, tmp_path):
    url = web.serve("/a.wav", DATA)

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        read(url, tmp_path, check=stop)


def test_waiting_for_the_next_try_stops_when_asked_to(web, tmp_path):
    web.routes["/a.wav"] = respond(503)

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        fetch(
            TaskSource(uri=f"{web.url}/a.wav"),
            tmp_path,
            check=stop,
            on_bytes=lambda *_: None,
            egress=LOOPBACK,
            retry=Retry(first_pause=600, max_pause=600),
        )


def test_the_timeouts_are_short_enough_for_a_stop():
    from steno_runtime.storage.web import TIMEOUT

    assert isinstance(TIMEOUT, httpx.Timeout)
    assert TIMEOUT.connect == 10
    assert TIMEOUT.read == 30


def header(name, value):
    """An answer whose header has bytes that no library would send."""

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + name + b": " + value + b"\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    "target",
    [b"http://[::1", b"http://a:99999999/", b"http://" + b"a" * 3_000, b"http://xn--\xff/", b"\xc3\xa4\xff", b":",
     b"http://a b/", b"http://%00/", b"//", b"http://a..b/", b"http://127.0.0.1:1/", b"?", b"http://1.2.3.4.5/"],
)  # fmt: skip
def test_wherever_a_redirect_points_only_a_work_error_comes_of_it(web, tmp_path, target):
    web.routes["/a"] = header(b"Location", target)
    assert failure(f"{web.url}/a", tmp_path).reason is not FailureReason.INTERNAL


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example", "."])
def test_a_host_that_no_resolver_can_be_asked_for(tmp_path, host):
    assert failure(f"http://{host}/a.wav", tmp_path).reason in (
        FailureReason.INVALID_SPEC,
        FailureReason.SOURCE_UNAVAILABLE,
    )


@given(uri=st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=150, deadline=None)
def test_whatever_is_given_for_an_address_only_a_work_error_comes_of_it(uri, tmp_path_factory):
    def unreachable(*_, **__):
        raise httpx.ConnectError("unreachable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx.Client.stream", unreachable)
        patch.setattr("socket.getaddrinfo", lambda *_, **__: [])
        failure(f"http://{uri}", tmp_path_factory.getbasetemp() / "address")


@pytest.mark.parametrize("token", ["tök", "to\nken", "to\0ken", "토큰"])
def test_a_token_that_no_header_can_carry_is_the_users_to_correct(web, tmp_path, token):
    credentials = mounted_secret(tmp_path / "secret", steno_http_token=token, **for_site(web))
    error = failure(web.serve("/a.wav", DATA), tmp_path, credentials_dir=credentials)
    assert error.reason is FailureReason.SOURCE_FORBIDDEN
    assert "source.secretRef" in error.message
    assert token not in error.message
    assert not web.requests
