"""Names that are shown, credentials that are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_runtime.errors import MAX_MESSAGE_CHARS, WorkError
from steno_runtime.storage.common import redact
from steno_runtime.storage.credentials import read_credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://ann:pw@host:8443/a/b.wav?sig=s#f", "https://host:8443/a/b.wav"),
        ("HTTPS://t0ken@host/a", "https://host/a"),
        ("https://[bad/x?sig=s", "https://[bad/x"),
        ("https://u:p@[bad/x?sig=s", "[bad/x"),
        ("s3://bucket/what?.wav", "s3://bucket/what?.wav"),
        ("pvc://claim/a#1.wav", "pvc://claim/a#1.wav"),
    ],
)
def test_redact(uri, shown):
    assert redact(uri) == shown


@given(st.text(alphabet="abcdefghijklmnop", min_size=3, max_size=9).map(lambda word: f"SECRET{word}"))
def test_no_secret_of_a_url_is_shown(secret):
    for uri in (f"https://{secret}@h/x", f"https://u:{secret}@h/x", f"http://h/x?{secret}", f"http://h/x#{secret}"):
        assert secret.lower() not in redact(uri).lower()


def test_credentials_are_the_files_of_a_mounted_secret(tmp_path):
    version = tmp_path / "..2026_11_21"
    version.mkdir()
    (version / "token").write_text("abc\n")
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "token").symlink_to("..data/token")
    assert read_credentials(str(tmp_path)) == {"token": "abc"}
    assert read_credentials(None) == {}


def test_credentials_that_are_not_text(tmp_path):
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkError) as caught:
        read_credentials(str(tmp_path))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_a_message_is_never_longer_than_the_protocol_takes():
    assert len(WorkError(FailureReason.INTERNAL, "x" * 5000).message) == MAX_MESSAGE_CHARS
