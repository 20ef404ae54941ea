"""A Secret's values go where the Secret says, to real servers, and nowhere else: whoever names it chose the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.tests.conftest import LOOPBACK, Web, mounted_secret, reply
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch, open_output
from steno_runtime.storage.common import Retry

FAST = Retry(attempts=2, first_pause=0.01, max_pause=0.02)
PLAIN = {"allowPlainHTTP": "true"}
AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "session"}
OBJECT = {"ETag": '"1"', "Last_Modified": "Sat, 21 Nov 2026 04:00:00 GMT"}


def read(uri: str, folder: Path, **fields) -> bytes:
    source = TaskSource(uri=uri, **fields)
    target = folder / "read"
    return fetch(source, target, check=lambda: None, on_bytes=lambda *_: None, egress=LOOPBACK, retry=FAST).read_bytes()


def failure(call: Callable[[], object]) -> WorkError:
    with pytest.raises(WorkError) as caught:
        call()
    for value in ("tok", "hunter2", "session"):
        assert value not in caught.value.message
    return caught.value


def nothing_secret(web: Web) -> bool:
    return not any({"authorization", "x-amz-security-token"} & headers.keys() for _, headers in web.requests)


@pytest.mark.parametrize(
    "keys", [{"steno_http_token": "tok"}, {"steno_http_username": "a", "steno_http_password": "hunter2"}]
)
@pytest.mark.parametrize("scope", ["", "https://a.example/", "{other}", "{web}/b", "{web}/fil", "{web}/file/below"])
def test_h6_credentials_are_for_the_urls_below_their_prefix(web_factory, tmp_path, keys, scope):
    web, other = web_factory(), web_factory()
    web.serve("/file", b"data")
    allowed = {"allowedPrefix": scope.format(web=web.url, other=other.url)} if scope else {}
    credentials = mounted_secret(tmp_path / "s", **keys, **allowed, **PLAIN)
    error = failure(lambda: read(f"{web.url}/file", tmp_path, credentials_dir=credentials))
    assert error.reason is FailureReason.SOURCE_FORBIDDEN
    assert "source.secretRef" in error.message
    assert "allowedPrefix" in error.message
    assert not web.requests


def test_h6_keys_that_other_programs_use_are_not_credentials_of_ours(web, tmp_path):
    web.serve("/file", b"data")
    keys = {"token": "tok", "username": "ann", "password": "hunter2"}
    credentials = mounted_secret(tmp_path / "s", **keys, allowedPrefix=web.url, **PLAIN)
    assert read(f"{web.url}/file", tmp_path, credentials_dir=credentials) == b"data"
    assert nothing_secret(web)


@pytest.mark.parametrize("prefix", ["{0}", "{0}/", "{0}/a", "{0}/a/", "{0}/a/file", "https://b.example\n{0}/a"])
def test_a_prefix_is_compared_by_segments(web, tmp_path, prefix):
    web.serve("/a/file", b"data")
    credentials = mounted_secret(tmp_path / "s", steno_http_token="tok", allowedPrefix=prefix.format(web.url), **PLAIN)
    assert read(f"{web.url}/a/file", tmp_path, credentials_dir=credentials) == b"data"
    assert web.requests[0][1]["authorization"] == "Bearer tok"


@pytest.mark.parametrize(
    "path", ["/a/../b", "/a/%2e%2e/b", "/a/..%2fb", "/a/./b", "/a//b", "/a/..\\b", "/a/%252e%252e/b"]
)
def test_a_path_that_a_server_could_read_otherwise_gets_none(web, tmp_path, path):
    web.serve("/b", b"data")
    credentials = mounted_secret(tmp_path / "s", steno_http_token="tok", allowedPrefix=f"{web.url}/a", **PLAIN)
    assert failure(lambda: read(web.url + path, tmp_path, credentials_dir=credentials)).reason in (
        FailureReason.SOURCE_FORBIDDEN,
        FailureReason.INVALID_SPEC,
    )
    assert nothing_secret(web)


def test_h6_plain_http_is_for_secrets_that_say_so(web, s3, tmp_path):
    web.serve("/file", b"data")
    credentials = mounted_secret(tmp_path / "s", steno_http_token="tok", allowedPrefix=web.url)
    for allowed in ("", "false", "1"):
        mounted_secret(tmp_path / "s", allowPlainHTTP=allowed)
        error = failure(lambda: read(f"{web.url}/file", tmp_path, credentials_dir=credentials))
        assert error.reason is FailureReason.SOURCE_FORBIDDEN
        assert 'allowPlainHTTP: "true"' in error.message
    bucket = s3.credentials(tmp_path / "bucket", allowPlainHTTP="")
    place = {"endpointURL": s3.endpoint, "credentials_dir": bucket}
    assert "allowPlainHTTP" in failure(lambda: read("s3://meetings/a.wav", tmp_path, **place)).message
    error = failure(lambda: open_output(TaskOutput(uri="s3://transcripts/a", formats=["json"], **place), LOOPBACK))
    assert error.reason is FailureReason.OUTPUT_FORBIDDEN
    assert "allowPlainHTTP" in error.message
    assert not web.requests


def test_a_redirect_out_of_the_prefix_gets_none(web, tmp_path):
    credentials = mounted_secret(tmp_path / "s", steno_http_token="tok", allowedPrefix=f"{web.url}/mine", **PLAIN)
    web.routes["/mine/a"] = reply(302, Location="/public/a")
    web.serve("/public/a", b"data")
    assert read(f"{web.url}/mine/a", tmp_path, credentials_dir=credentials) == b"data"
    assert [headers.get("authorization") for _, headers in web.requests] == ["Bearer tok", None]


def test_an_entry_that_is_no_url_is_reported(web, tmp_path):
    credentials = mounted_secret(tmp_path / "s", steno_http_token="tok", allowedPrefix="a.example", **PLAIN)
    error = failure(lambda: read(web.serve("/a", b""), tmp_path, credentials_dir=credentials))
    assert error.reason is FailureReason.INVALID_SPEC
    assert "allowedPrefix" in error.message


def s3_calls(web: Web, credentials: str | None, folder: Path) -> list[Callable[[], object]]:
    place = {"endpointURL": web.url, "credentials_dir": credentials}
    results = TaskOutput(uri="s3://b/d", formats=["json"], **place)
    return [
        lambda: read("s3://b/d/a.wav", folder, **place),
        lambda: open_output(results, LOOPBACK).create("manifest.json", b"{}", "application/json"),
    ]


@pytest.mark.parametrize(
    "keys",
    [{}, {"AWS_ENDPOINT_URL": "https://s3.example"}, {"allowedPrefix": "https://s3.example"}, {"allowedPrefix": "s3://b"},
     {"allowedPrefix": "{0}/other"}, {"AWS_ENDPOINT_URL": "{0}", "allowedPrefix": "s3://other s3://b/dd"}],
)  # fmt: skip
def test_h6_an_endpoint_of_the_users_gets_no_credentials(web, tmp_path, keys):
    credentials = mounted_secret(
        tmp_path / "s", **AWS, **PLAIN, **{key: value.format(web.url) for key, value in keys.items()}
    )
    source, output = (failure(call) for call in s3_calls(web, credentials, tmp_path))
    assert (source.reason, output.reason) == (FailureReason.SOURCE_FORBIDDEN, FailureReason.OUTPUT_FORBIDDEN)
    assert "source.secretRef" in source.message
    assert "output.secretRef" in output.message
    assert not web.requests


@pytest.mark.parametrize(
    "keys",
    [{"AWS_ENDPOINT_URL": "{0}"}, {"allowedPrefix": "{0}/"}, {"allowedPrefix": "{0}/b"}, {"allowedPrefix": "{0}/b/d"},
     {"AWS_ENDPOINT_URL": "{0}", "allowedPrefix": "https://other.example s3://b/d"}],
)  # fmt: skip
def test_an_endpoint_and_a_bucket_that_the_secret_names(web, tmp_path, keys):
    credentials = mounted_secret(
        tmp_path / "s", **AWS, **PLAIN, **{key: value.format(web.url) for key, value in keys.items()}
    )
    web.serve("/b/d/a.wav", b"data", **OBJECT)
    web.routes["/b/d/manifest.json"] = reply(200, **OBJECT)
    assert [call() for call in s3_calls(web, credentials, tmp_path)] == [b"data", True]
    assert {headers["x-amz-security-token"] for _, headers in web.requests} == {"session"}


def test_h6_an_endpoint_that_redirects_shows_another_server_no_token(web_factory, tmp_path):
    web, other = web_factory(), web_factory()
    web.routes["/b/d/a.wav"] = reply(307, Location=f"{other.url}/b/d/a.wav")
    other.serve("/b/d/a.wav", b"data", **OBJECT)
    credentials = mounted_secret(tmp_path / "s", **AWS, **PLAIN, allowedPrefix=web.url)
    assert s3_calls(web, credentials, tmp_path)[0]() == b"data"
    assert not nothing_secret(web)
    assert nothing_secret(other)


def test_h6_a_redirect_within_tls_is_not_followed(web, web_factory, tmp_path):
    other = web_factory()
    web.routes["/b/d/a.wav"] = reply(307, Location=other.url.replace("http", "https") + "/b/d/a.wav")
    credentials = mounted_secret(tmp_path / "s", **AWS, **PLAIN, allowedPrefix=web.url)
    assert failure(s3_calls(web, credentials, tmp_path)[0]).reason is FailureReason.SOURCE_UNAVAILABLE
    assert not other.requests


def test_h6_the_identity_of_the_pod_is_not_for_an_endpoint_of_the_users(web, tmp_path, monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    source, output = (failure(call) for call in s3_calls(web, None, tmp_path))
    assert (source.reason, output.reason) == (FailureReason.SOURCE_FORBIDDEN, FailureReason.OUTPUT_FORBIDDEN)
    assert "Set source.secretRef" in source.message
    assert not web.requests


@pytest.mark.parametrize("region", ["x@{0}/#", "x.{0}/", "{0}", "a b", "a/b", "a%2fb"])
def test_h6_a_region_does_not_lead_to_another_host(web, tmp_path, region):
    credentials = mounted_secret(tmp_path / "s", **AWS)
    place = {"region": region.format(web.url.removeprefix("http://")), "credentials_dir": credentials}
    error = failure(lambda: read("s3://b/a.wav", tmp_path, **place))
    assert error.reason is FailureReason.INVALID_SPEC
    assert "source.region" in error.message
    assert not web.requests


@pytest.mark.parametrize("bucket", ["..", ".", "b?x", "b#x", "%2e%2e", "b%2fc"])
def test_a_bucket_does_not_lead_out_of_the_prefix(web, tmp_path, bucket):
    credentials = mounted_secret(tmp_path / "s", **AWS, **PLAIN, allowedPrefix=f"{web.url}/mine")
    place = {"endpointURL": f"{web.url}/mine", "credentials_dir": credentials}
    assert failure(lambda: read(f"s3://{bucket}/a.wav", tmp_path, **place)).reason is FailureReason.INVALID_SPEC
    assert not web.requests
