"""The address that is connected to decides: over https and S3, after redirects, and whatever the resolver says next."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.tests.conftest import LOOPBACK, Web, mounted_secret, reply
from steno_api.failures import FailureReason
from steno_api.worker.task import EgressRules, TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch, open_output
from steno_runtime.storage.common import Retry
from steno_runtime.storage.egress import egress_of

FAST = Retry(attempts=2, first_pause=0.01, max_pause=0.02)
ONLY_SECOND = EgressRules(allowed_networks=["127.0.0.2/32"])
"""Stands for a network where 127.0.0.2 is somewhere on the internet, and 127.0.0.1 is loopback."""


def test_a_rule_that_is_no_network_is_reported():
    with pytest.raises(WorkError) as caught:
        egress_of(EgressRules(denied_networks=["10.0.0.0/33"]))
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert "10.0.0.0/33" in caught.value.message


@contextlib.contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[list[str]]]) -> Iterator[list[str]]:
    """A resolver that gives each name its next answer, the last one repeatedly; yields what was asked for."""
    real, asked = socket.getaddrinfo, []

    def answer(host, port, *args, **kwargs):
        if host not in names:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        answers = names[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [one for address in found for one in real(address, port, *args, **kwargs)]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", answer)
        yield asked


@pytest.fixture
def second(web_factory: Callable[..., Web]) -> Web:
    """A server on 127.0.0.2."""
    return web_factory("127.0.0.2")


def read(uri: str, folder: Path, egress: EgressRules = ONLY_SECOND, **fields) -> bytes:
    source = TaskSource(uri=uri, **fields)
    return fetch(source, folder, check=lambda: None, on_bytes=lambda *_: None, egress=egress, retry=FAST).read_bytes()


def failure(call: Callable[[], object]) -> WorkError:
    with pytest.raises(WorkError) as caught:
        call()
    return caught.value


def redirect(target: str, status: int = 302):
    return reply(status, Location=target)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433", "127.1", "0", "[::1]", "[::]", "localhost",
     "169.254.169.254", "[::ffff:169.254.169.254]", "0xA9FEA9FE", "2852039166", "[fd00:ec2::254]", "[fe80::1]",
     "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::1]"],
)  # fmt: skip
def test_a_denied_address_is_not_connected_to_not_even_through_a_redirect(web, second, tmp_path, monkeypatch, host):
    victim = f"http://{host}:{web.url.rpartition(':')[2]}/latest/meta-data/"
    web.serve("/latest/meta-data/", b"secret")
    second.routes["/a"] = redirect(victim)
    dialled = connections(monkeypatch)
    for uri in (victim, f"{second.url}/a"):
        error = failure(lambda uri=uri: read(uri, tmp_path))
        assert error.reason is FailureReason.SOURCE_FORBIDDEN
        assert "egress.allowedNetworks" in error.message
    assert set(dialled) == {"127.0.0.2"}
    assert not web.requests


def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that Python's code of this process connects to from now on."""
    real, dialled = socket.create_connection, []

    def connect(address, *args, **kwargs):
        dialled.append(address[0])
        return real(address, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", connect)
    return dialled


def test_a_name_is_resolved_once_for_a_connection_and_anew_for_the_next(web, second, tmp_path, monkeypatch):
    """The second answer, which would rebind the name to loopback, is of no use to anybody."""
    port = second.url.rpartition(":")[2]
    second.serve("/a.wav", b"public")
    with resolving(monkeypatch, {"rebind.example": [["127.0.0.2"], ["127.0.0.1"]]}) as asked:
        assert read(f"http://rebind.example:{port}/a.wav", tmp_path) == b"public"
        assert asked == ["rebind.example"]
        assert second.requests[0][1]["host"] == f"rebind.example:{port}"
        error = failure(lambda: read(f"http://rebind.example:{web.url.rpartition(':')[2]}/a.wav", tmp_path))
    assert error.reason is FailureReason.SOURCE_FORBIDDEN
    assert not web.requests


def test_of_several_addresses_only_the_permitted_one_is_used(second, tmp_path, monkeypatch):
    port = second.url.rpartition(":")[2]
    second.serve("/a.wav", b"public")
    dialled = connections(monkeypatch)
    with resolving(monkeypatch, {"both.example": [["127.0.0.1", "127.0.0.2"]]}):
        assert read(f"http://both.example:{port}/a.wav", tmp_path) == b"public"
    assert dialled == ["127.0.0.2"]


def test_the_next_address_is_tried_where_one_does_not_answer(tmp_path, monkeypatch, web):
    web.serve("/a.wav", b"data")
    with resolving(monkeypatch, {"two.example": [["127.0.0.3", "127.0.0.1"]]}):
        assert read(f"http://two.example:{web.url.rpartition(':')[2]}/a.wav", tmp_path, LOOPBACK) == b"data"


def test_an_allowed_network_is_an_exception_to_a_denied_one(web, second, tmp_path):
    rules = EgressRules(allowed_networks=["127.0.0.1/32"], denied_networks=["127.0.0.0/8"])
    assert read(web.serve("/a.wav", b"in the cluster"), tmp_path, rules) == b"in the cluster"
    assert failure(lambda: read(second.serve("/a.wav", b""), tmp_path, rules)).reason is FailureReason.SOURCE_FORBIDDEN
    assert not second.requests


def test_the_certificate_is_still_that_of_the_name(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-subj", "/CN=files.example", "-days", "2", "-addext", "subjectAltName=DNS:files.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                with contextlib.suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as near:
                    near.recv(4096)
                    near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndata")

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        with resolving(monkeypatch, {"files.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}):
            assert read(f"https://files.example:{port}/a.wav", tmp_path, LOOPBACK) == b"data"
            other = failure(lambda: read(f"https://other.example:{port}/a.wav", tmp_path, LOOPBACK))
        thread.join()
    assert "certificate is not trusted" in other.message
    assert names == ["files.example", "other.example"]


def bucket(endpoint: str, folder: Path, egress: EgressRules, role: str = "source") -> Callable[[], object]:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    credentials = mounted_secret(folder, **keys, allowedPrefix=endpoint, allowPlainHTTP="true")
    where = {"endpointURL": endpoint, "credentials_dir": credentials}
    if role == "output":
        return lambda: open_output(TaskOutput(uri="s3://b/d", formats=["json"], **where), egress).create(
            "a", b"x", "a/b"
        )
    return lambda: read("s3://b/a.wav", folder / "read", egress, **where)


@pytest.mark.parametrize("role", ["source", "output"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_an_endpoint_that_redirects_to_a_denied_address(web, second, tmp_path, status, host, role):  # noqa: PLR0917
    target = f"http://{host}:{web.url.rpartition(':')[2]}/latest/meta-data/"
    for path in ("/b/a.wav", "/b/d/a"):
        second.routes[path] = redirect(target, status)
    error = failure(bucket(second.url, tmp_path, ONLY_SECOND, role))
    assert second.requests
    assert not web.requests
    assert error.reason is FailureReason.INVALID_SPEC
    assert ("link-local" if role == "source" else str(status)) in error.message  # obstore sends no body twice


def test_an_endpoint_may_redirect_to_where_it_could_have_been(second, web_factory, tmp_path):
    other = web_factory("127.0.0.2")
    second.routes["/b/a.wav"] = redirect(f"{other.url}/b/a.wav", 307)
    other.serve("/b/a.wav", b"data", ETag='"1"', Last_Modified="Sat, 21 Nov 2026 04:00:00 GMT")
    assert bucket(second.url, tmp_path, ONLY_SECOND)() == b"data"
    assert "authorization" not in other.requests[0][1]


def test_an_endpoint_whose_name_is_rebound_after_it_was_checked(web, tmp_path, monkeypatch):
    web.serve("/b/a.wav", b"secret")
    endpoint = f"http://rebind.example:{web.url.rpartition(':')[2]}"
    with resolving(monkeypatch, {"rebind.example": [["127.0.0.2"], ["127.0.0.1"]]}) as asked:
        error = failure(bucket(endpoint, tmp_path, ONLY_SECOND))
    assert len(asked) == 2
    assert error.reason is FailureReason.INVALID_SPEC
    assert not web.requests


def test_a_tls_endpoint_that_is_rebound_sees_no_bytes(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        endpoint = f"https://rebind.example:{server.getsockname()[1]}"
        with resolving(monkeypatch, {"rebind.example": [["127.0.0.2"], ["127.0.0.1"]]}):
            error = failure(bucket(endpoint, tmp_path, ONLY_SECOND))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE


@pytest.mark.parametrize("role", ["source", "output"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "169.254.169.254", "localhost"])
def test_a_denied_endpoint_is_refused_in_words(web, tmp_path, host, role):
    error = failure(bucket(f"http://{host}:{web.url.rpartition(':')[2]}", tmp_path, ONLY_SECOND, role))
    assert error.reason is FailureReason.INVALID_SPEC
    assert f"{role}.endpointURL" in error.message
    assert not web.requests


def test_the_metadata_service_is_not_asked_for_an_identity(tmp_path, monkeypatch):
    """Without a Secret the node's own role would be used, which all tenants share."""
    dialled = connections(monkeypatch)
    error = failure(lambda: read("s3://bucket/a.wav", tmp_path, EgressRules()))
    assert error.reason is FailureReason.SOURCE_FORBIDDEN
    assert "there are no credentials" in error.message
    assert not dialled


def test_what_a_foreign_server_answers_is_neither_logged_nor_shown(second, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "steno_runtime")
    secret = b"<Error><Message>MARKER-in-the-body</Message><Code>MARKER in a code</Code></Error>"
    second.routes["/b/a.wav"] = second.routes["/a.wav"] = reply(403, secret)
    errors = [
        failure(bucket(second.url, tmp_path, ONLY_SECOND)),
        failure(lambda: read(f"{second.url}/a.wav", tmp_path)),
    ]

    def reason(handler):
        handler.wfile.write(b"HTTP/1.1 403 MARKER\r\nContent-Length: 0\r\nContent-Encoding: MARKER\r\n\r\n")

    second.routes["/a.wav"] = reason
    errors.append(failure(lambda: read(f"{second.url}/a.wav", tmp_path)))
    assert all("403" in error.message and "MARKER" not in error.message for error in errors)
    ours = [vars(record) for record in caplog.records if record.name.startswith("steno_runtime")]
    assert ours
    assert "MARKER" not in str(ours)


def test_an_administrators_proxy_is_used_and_asked_for_no_denied_address(web, tmp_path, monkeypatch):
    """Its own address may be anywhere, and it resolves names that nobody here knows."""
    monkeypatch.setenv("http_proxy", web.url.replace("//", "//ann:p%40ss@"))
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    web.routes["http://far.invalid/b/a.wav"] = web.routes["http://far.invalid/a.wav"] = reply(
        200, b"far", ETag='"1"', Last_Modified="Sat, 21 Nov 2026 04:00:00 GMT"
    )
    assert read("http://far.invalid/a.wav", tmp_path) == b"far"
    assert bucket("http://far.invalid", tmp_path, EgressRules())() == b"far"
    assert [headers["proxy-authorization"] for _, headers in web.requests] == ["Basic YW5uOnBAc3M="] * 2
    web.requests.clear()
    for call in (
        lambda: read("http://169.254.169.254/a.wav", tmp_path),
        bucket("http://169.254.169.254", tmp_path, EgressRules()),
    ):
        failure(call)
    assert not web.requests
