"""Which URLs a client may have fetched: prefixes that cannot be fooled."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError
from steno_runtime.errors import WorkError
from steno_runtime.serve.uploads.allowed_sources import AllowedSources

ALLOWED = ["https://media.example/calls/", "http://files.example:8080", "s3://meetings/2026"]
SOURCES = AllowedSources(ALLOWED, None)


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example/calls/a.wav",
        "https://media.example/calls",
        "https://MEDIA.example:443/calls/x/y%20z.wav?signature=a/../b&t=1",
        "https://media.example/calls/%C3%A9t%C3%A9.wav",
        "http://files.example:8080/anything",
        "http://files.example:8080",
        "s3://meetings/2026/a.wav",
    ],
)
def test_allowed_urls(url: str):
    assert SOURCES.allows(url)
    SOURCES.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path/to/audio.wav",
        "file:///etc/passwd",
        "ftp://media.example/calls/a",
        "HTTPS://media.example/calls/a",
        "http://media.example/calls/a.wav",
        "https://media.example:8443/calls/a.wav",
        "https://media.example/callsign/a.wav",
        "https://media.example/",
        "https://media.example/calls/../secret",
        "https://media.example/calls/x/../../secret",
        "https://media.example/calls/./a",
        "https://media.example/calls//a",
        "https://media.example/calls/%2e%2e/secret",
        "https://media.example/calls/%2E./secret",
        "https://media.example/calls/%252e%252e/secret",
        "https://media.example/calls/..%2fsecret",
        "https://media.example/calls/..%5csecret",
        "https://media.example/calls/..\\secret",
        "https://media.example/calls/a%00.wav",
        "https://media.example\\@evil.example/calls/a",
        "https://media.example@evil.example/calls/a",
        "https://evil.example/@media.example/calls/a",
        "https://user:pw@media.example/calls/a",
        "https://@media.example/calls/a",
        "https://media.example.evil.example/calls/a",
        "https://evil.example#@media.example/calls/a",
        "https://evil.example?@media.example/calls/a",
        "https://media.example#/calls/a",
        "https://media.example?/calls/a",
        "https://media.example/?/calls/a",
        "https://media.example:443:80/calls/a",
        "https://media.example:x/calls/a",
        "https:/media.example/calls/a",
        "https:///media.example/calls/a",
        "https://[media.example]/calls/a",
        " https://media.example/calls/a",
        "https://media.example/calls/a b",
        "https://media.example/calls/a\nb",
        "https://mediaexample/calls/a",
        "s3://meetings/20266/a",
        "s3://meetings/2026/../2025/a",
        "s3://meetings",
        "s3://x@meetings/2026/a",
        "s3://meetings/2026/" + "a" * 5000,
    ],
)
def test_urls_that_are_not_allowed(url: str):
    assert not SOURCES.allows(url)
    with pytest.raises(ApiError) as caught:
        SOURCES.check(url)
    assert caught.value.status.code == "SourceNotAllowed"


def test_nothing_is_allowed_by_default():
    assert not AllowedSources([], None).allows("https://media.example/calls/a.wav")


@pytest.mark.parametrize(
    "prefix", ["media.example/", "https://u:p@media.example/", "https://media.example/a/../b", "*"]
)
def test_an_invalid_prefix(prefix: str):
    with pytest.raises(WorkError) as caught:
        AllowedSources([prefix], None)
    assert caught.value.reason is FailureReason.INVALID_SPEC


@given(st.text(max_size=40))
def test_no_suffix_escapes_its_prefix(tail: str):
    """Whatever follows a prefix's last slash, the host it is sent to and the path it is sent for stay under it."""
    import httpx

    url = "https://media.example/calls/" + tail
    if SOURCES.allows(url):
        sent = httpx.URL(url)
        assert (sent.host, sent.userinfo) == ("media.example", b"")
        assert sent.raw_path.startswith(b"/calls")


@example(".")
@given(st.text(max_size=30))
def test_no_infix_changes_the_host(middle: str):
    import httpx

    url = f"https://media.example{middle}/calls/a.wav"
    if SOURCES.allows(url):
        assert httpx.URL(url).host == "media.example"
