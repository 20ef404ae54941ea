"""The bearer token of /metrics."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from steno_api.metrics_token import MetricsTokenError, may_read_metrics, read_token_digest

TOKEN = "t" * 40


def test_a_file_with_a_line_end_has_the_tokens_digest(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token_digest(file) == hashlib.sha256(TOKEN.encode()).hexdigest()


@pytest.mark.parametrize(
    "content", ["", "short", "a" * 31, "two words of a sentence that is long", "é" * 40, "a" * 40 + "\n\x00b"]
)
def test_a_token_that_can_be_guessed_or_not_sent_is_none(tmp_path: Path, content: str):
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(MetricsTokenError, match="token"):
        read_token_digest(file)


def test_without_the_file_there_is_no_default(tmp_path: Path):
    with pytest.raises(MetricsTokenError, match="FileNotFoundError"):
        read_token_digest(tmp_path / "token")


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (None, False),
        ("", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer \udcff\u00e9", False),
    ],
)
def test_who_may_read(header: str | None, *, admitted: bool):
    assert may_read_metrics(hashlib.sha256(TOKEN.encode()).hexdigest(), header) is admitted
    assert may_read_metrics(None, header), "without a token everyone may"
