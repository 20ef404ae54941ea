"""Sources and results in a real S3 server."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runtime.tests.conftest import LOOPBACK, reply
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch, open_output
from steno_runtime.storage.common import Retry
from steno_runtime.storage.s3 import CHECK_NAME

FAST = Retry(attempts=2, first_pause=0.01, max_pause=0.02)


def where(s3, folder: Path, fields: dict[str, str]) -> dict[str, str]:
    """The endpoint, and credentials for it."""
    endpoint = fields.get("endpoint_url", s3.endpoint)
    secret = s3.credentials(folder / "secret", allowedPrefix=endpoint or "")
    return {"endpoint_url": endpoint, "credentials_dir": secret} | fields


def read(s3, folder: Path, uri: str, **fields) -> bytes:
    fields = where(s3, folder, fields)
    source = TaskSource(uri=uri, **fields)
    return fetch(source, folder, check=lambda: None, on_bytes=lambda *_: None, egress=LOOPBACK, retry=FAST).read_bytes()


def output(s3, folder: Path, uri: str = "s3://transcripts/a/b/uid", **fields):
    fields = where(s3, folder, fields)
    return open_output(TaskOutput(uri=uri, formats=["json"], **fields), LOOPBACK)


def failure(call, *args, **kwargs) -> WorkError:
    with pytest.raises(WorkError) as caught:
        call(*args, **kwargs)
    assert "secret-key" not in caught.value.message
    assert "<" not in caught.value.message
    return caught.value


def test_an_object_is_read(s3, tmp_path):
    data = os.urandom(3_000_000)
    s3.client.put_object(Bucket="meetings", Key="weekly/stand up ü+%20.m4a", Body=data)
    assert read(s3, tmp_path, "s3://meetings/weekly/stand up ü+%20.m4a") == data


def test_endpoint_and_region_may_come_from_the_secret(s3, tmp_path):
    s3.client.put_object(Bucket="meetings", Key="a.wav", Body=b"abc")
    secret = s3.credentials(tmp_path / "full", AWS_ENDPOINT_URL=s3.endpoint, AWS_REGION="us-east-1")
    assert read(s3, tmp_path, "s3://meetings/a.wav", endpoint_url=None, credentials_dir=secret) == b"abc"


def test_without_a_secret_the_environment_identifies_us(s3, tmp_path, monkeypatch):
    s3.client.put_object(Bucket="meetings", Key="a.wav", Body=b"abc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert read(s3, tmp_path, "s3://meetings/a.wav", credentials_dir=None) == b"abc"


def test_the_secret_alone_counts_where_there_is_one(s3, tmp_path, monkeypatch):
    s3.client.put_object(Bucket="meetings", Key="a.wav", Body=b"abc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of a session that the Secret knows nothing of")
    assert read(s3, tmp_path, "s3://meetings/a.wav") == b"abc"


@pytest.mark.parametrize(
    ("uri", "expected"), [("s3://meetings/none.wav", "no such object"), ("s3://nowhere/a.wav", "bucket does not exist")]
)
def test_a_missing_key_and_a_missing_bucket(s3, tmp_path, uri, expected):
    error = failure(read, s3, tmp_path, uri)
    assert error.reason is FailureReason.SOURCE_NOT_FOUND
    assert expected in error.message
    assert uri in error.message


@pytest.mark.parametrize("wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"}])
def test_wrong_credentials(s3, tmp_path, wrong):
    s3.client.put_object(Bucket="meetings", Key="a.wav", Body=b"abc")
    secret = s3.credentials(tmp_path / "wrong", **wrong)
    error = failure(read, s3, tmp_path, "s3://meetings/a.wav", credentials_dir=secret)
    assert error.reason is FailureReason.SOURCE_FORBIDDEN
    assert "source.secretRef" in error.message
    error = failure(output(s3, tmp_path, credentials_dir=secret).check_writable)
    assert error.reason is FailureReason.OUTPUT_FORBIDDEN
    assert "output.secretRef" in error.message


def test_a_secret_that_lacks_a_key(s3, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "AWS_ACCESS_KEY_ID").write_text("steno")
    error = failure(read, s3, tmp_path, "s3://meetings/a.wav", credentials_dir=str(tmp_path / "half"))
    assert error.reason is FailureReason.INVALID_SPEC
    assert "AWS_SECRET_ACCESS_KEY" in error.message


def test_the_wrong_region_is_reported(s3, tmp_path):
    s3.client.put_object(Bucket="meetings", Key="a.wav", Body=b"abc")
    error = failure(read, s3, tmp_path, "s3://meetings/a.wav", region="eu-north-1")
    assert error.reason is FailureReason.INVALID_SPEC
    assert "region" in error.message


def test_an_object_that_is_too_large_is_refused_before_it_is_read(s3, tmp_path):
    s3.client.put_object(Bucket="meetings", Key="big.wav", Body=bytes(2_000_000))
    error = failure(read, s3, tmp_path, "s3://meetings/big.wav", max_bytes=1_000_000)
    assert error.reason is FailureReason.TOO_LARGE
    assert (tmp_path / "source.wav").stat().st_size == 0


def test_an_endpoint_that_is_down(s3, tmp_path):
    error = failure(read, s3, tmp_path, "s3://meetings/a.wav", endpoint_url="http://127.0.0.1:9")
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE


@pytest.mark.parametrize("status", [500, 503])
def test_an_endpoint_that_fails(s3, web, tmp_path, status):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    web.routes["/meetings/a.wav"] = answer
    error = failure(read, s3, tmp_path, "s3://meetings/a.wav", endpoint_url=web.url)
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE
    assert str(status) in error.message
    assert len(web.requests) == FAST.attempts


def test_a_dropped_connection_is_resumed(s3, web, tmp_path):
    data = os.urandom(4_000_000)

    def answer(handler):
        headers = web.requests[-1][1]
        offset = int(headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if offset:
            assert headers["if-match"] == '"v1"'
        handler.send_response(206 if offset else 200)
        handler.send_header("Content-Length", str(len(data) - offset))
        handler.send_header("Last-Modified", "Sat, 21 Nov 2026 04:00:00 GMT")
        handler.send_header("ETag", '"v1"')
        if offset:
            handler.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[offset : offset + 1_700_000])
        handler.close_connection = True

    web.routes["/meetings/a.wav"] = answer
    assert read(s3, tmp_path, "s3://meetings/a.wav", endpoint_url=web.url) == data
    assert len(web.requests) >= 3


def test_a_metadata_address_is_not_an_endpoint(s3, tmp_path):
    for call in (
        lambda: read(s3, tmp_path, "s3://latest/meta-data", endpoint_url="http://169.254.169.254"),
        lambda: output(s3, tmp_path, endpoint_url="http://169.254.169.254"),
    ):
        assert failure(call).reason is FailureReason.INVALID_SPEC


def test_a_key_that_s3_paths_cannot_have(s3, tmp_path):
    assert failure(read, s3, tmp_path, "s3://meetings/a//b.wav").reason is FailureReason.INVALID_SPEC


def test_results_are_created_once_with_their_type(s3, tmp_path):
    directory = output(s3, tmp_path, "s3://transcripts/once/b/uid")
    assert directory.read("manifest.json") is None
    assert directory.create("manifest.json", b"first", "application/json")
    assert not directory.create("manifest.json", b"second", "application/json")
    assert directory.read("manifest.json") == b"first"
    head = s3.client.head_object(Bucket="transcripts", Key="once/b/uid/manifest.json")
    assert head["ContentType"] == "application/json"


def test_of_many_writers_at_once_one_wins(s3, tmp_path):
    directory = output(s3, tmp_path, "s3://transcripts/race/b/uid")
    barrier, won = threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait()
        if directory.create("a", b"%d" % number, "text/plain"):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in won] == [directory.read("a")]


def test_the_write_check_leaves_nothing(s3, tmp_path):
    output(s3, tmp_path, "s3://transcripts/check/b/uid").check_writable()
    assert not [key for key in s3.keys("transcripts") if CHECK_NAME in key]


def test_a_missing_output_bucket(s3, tmp_path):
    directory = output(s3, tmp_path, "s3://no-such-bucket/b/uid")
    for call in (
        directory.check_writable,
        lambda: directory.read("manifest.json"),
        lambda: directory.create("a", b"", "a/b"),
    ):
        error = failure(call)
        assert error.reason is FailureReason.OUTPUT_NOT_FOUND
        assert "no-such-bucket" in error.message


def test_an_output_whose_server_is_down(s3, tmp_path):
    error = failure(output(s3, tmp_path, endpoint_url="http://127.0.0.1:9").check_writable)
    assert error.reason is FailureReason.OUTPUT_UNAVAILABLE


def test_a_bucket_as_the_whole_output(s3, tmp_path):
    directory = output(s3, tmp_path, "s3://transcripts")
    assert directory.create("at-the-root", b"x", "text/plain")
    assert "at-the-root" in s3.keys("transcripts")


def test_a_store_without_conditional_writes_keeps_what_exists(s3, web, tmp_path):
    stored: dict[str, bytes] = {}

    def answer(handler):
        headers, body = web.requests[-1][1], web.bodies[-1]
        status, data = 200, b""
        if handler.command == "PUT" and "if-none-match" in headers:
            status, data = 501, b"<Error><Code>NotImplemented</Code></Error>"
        elif handler.command == "PUT":
            stored[handler.path] = body
        elif handler.path in stored:
            data = stored[handler.path]
        else:
            status, data = 404, b"<Error><Code>NoSuchKey</Code></Error>"
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", '"v1"')
        handler.send_header("Last-Modified", "Sat, 21 Nov 2026 04:00:00 GMT")
        handler.end_headers()
        handler.wfile.write(data)

    web.routes["/old/d/a"] = answer
    directory = output(s3, tmp_path, "s3://old/d", endpoint_url=web.url)
    assert directory.create("a", b"first", "text/plain")
    assert not directory.create("a", b"second", "text/plain")
    assert directory.read("a") == b"first"


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted", "ExistingObjectIsDirectory"])
def test_a_write_that_another_one_got_in_the_way_of_is_repeated(s3, web, tmp_path, code):
    """S3 says so to one of two writers of a key, servers that keep keys as files also where a folder comes and goes."""
    refused: list[str] = []

    def answer(handler):
        path = handler.path
        if handler.command == "PUT" and refused.count(path) < 2:
            refused.append(path)
            reply(409, f"<Error><Code>{code}</Code></Error>".encode())(handler)
        else:
            reply(200, b"", ETag='"v1"')(handler)

    web.routes |= {"/b/d/a": answer, f"/b/d/{CHECK_NAME}": answer}
    directory = output(s3, tmp_path, "s3://b/d", endpoint_url=web.url)
    directory.check_writable()
    assert directory.create("a", b"first", "text/plain")
    assert sorted(refused) == 2 * [f"/b/d/{CHECK_NAME}"] + 2 * ["/b/d/a"]


def test_a_conflict_that_stays_is_reported(s3, web, tmp_path):
    web.routes["/b/d/a"] = reply(409, b"<Error><Code>ExistingObjectIsDirectory</Code></Error>")
    with pytest.raises(WorkError, match="409 Conflict ExistingObjectIsDirectory") as caught:
        output(s3, tmp_path, "s3://b/d", endpoint_url=web.url).create("a", b"first", "text/plain")
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_results_go_nowhere_else():
    with pytest.raises(WorkError) as caught:
        open_output(TaskOutput(uri="https://example.com/results", formats=["json"]))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_results_survive_a_server_that_fails_for_a_while(s3, web, tmp_path):
    def answer(handler):
        handler.send_response(503 if len(web.requests) < 3 else 200)
        handler.send_header("Content-Length", "0")
        handler.send_header("ETag", '"v1"')
        handler.end_headers()

    web.routes["/bucket/d/a"] = answer
    directory = output(s3, tmp_path, "s3://bucket/d", endpoint_url=web.url)
    assert directory.create("a", b"result", "text/plain")
    assert all(headers["if-none-match"] == "*" for _, headers in web.requests)
    assert web.bodies == [b"result"] * 3
