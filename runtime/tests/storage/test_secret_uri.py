"""Sources whose URL is a secret: read from a file, and shown nowhere."""

from __future__ import annotations

import logging
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.tests.conftest import LOOPBACK
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch
from steno_runtime.storage.common import Retry

DATA = bytes(range(256)) * 64
SECRET = "X-Amz-Signature=5ec2e7"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with a trusted certificate, which answers by path; its URL."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-subj", "/CN=127.0.0.1", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            status = 200 if query == SECRET and path == "/5ec2e7/talk.wav" else int(path.rpartition("/")[2])
            self.send_response(status)
            self.send_header("Content-Length", str(len(DATA)))
            self.send_header("Location", f"ftp://127.0.0.1/elsewhere?{SECRET}")
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def read(folder: Path, content: str | None) -> Path:
    file = folder / "steno-source-uri"
    if content is not None:
        file.write_text(content)
    source = TaskSource(uri="secret://talk-url", uri_file=str(file))
    retry = Retry(attempts=2, first_pause=0.01, max_pause=0.01)
    return fetch(source, folder / "scratch", check=lambda: None, on_bytes=lambda *_: None, egress=LOOPBACK, retry=retry)


def test_the_url_is_read_from_its_file(site: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "steno_runtime")
    found = read(tmp_path, f"{site}/5ec2e7/talk.wav?{SECRET}\n")
    assert found.read_bytes() == DATA
    assert found.suffix == ".wav"
    assert "5ec2e7" not in caplog.text


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, FailureReason.SOURCE_NOT_FOUND),
        (403, FailureReason.SOURCE_FORBIDDEN),
        (400, FailureReason.INVALID_SPEC),
        (302, FailureReason.INVALID_SPEC),
        (503, FailureReason.SOURCE_UNAVAILABLE),
    ],
)
def test_no_message_has_it(
    site: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, reason: FailureReason
):
    caplog.set_level(logging.INFO, "steno_runtime")
    target = f"{site}/5ec2e7/{status}?{SECRET}"
    with pytest.raises(WorkError) as caught:
        read(tmp_path, target)
    assert caught.value.reason is reason
    assert "secret://talk-url" in caught.value.message
    for text in (caught.value.message, caplog.text):
        assert "5ec2e7" not in text
        assert "127.0.0.1" not in text


@pytest.mark.parametrize(
    "content",
    [None, "", "5ec2e7", "http://example.com/5ec2e7", "s3://bucket/5ec2e7", "file:///5ec2e7", "pvc://claim/5ec2e7",
     "https://a.example.com/5ec2e7\nhttps://b.example.com/", "https://a.example.com/5ec2e7 b", "https:///5ec2e7",
     "https://a.example.com/5ec2e7" * 400],
)  # fmt: skip
def test_what_is_no_https_url_is_not_asked_for_and_not_quoted(tmp_path: Path, content: str | None):
    with pytest.raises(WorkError) as caught:
        read(tmp_path, content)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert "5ec2e7" not in caught.value.message
    assert "secret://talk-url" in caught.value.message


def test_bytes_that_are_no_text_are_no_url(tmp_path: Path):
    (tmp_path / "steno-source-uri").write_bytes(b"\xff\xfe5ec2e7")
    with pytest.raises(WorkError) as caught:
        read(tmp_path, None)
    assert caught.value.reason is FailureReason.INVALID_SPEC
