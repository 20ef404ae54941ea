"""Whatever is done to a page: an engine reads the text of the clean one, or a warning says why not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import jiwer
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
from tests.support.properties import slow_examples

from .degraded import TEXT, clean, degraded, write
from .render import normal

pytestmark = [pytest.mark.slow, pytest.mark.long]

TOLERANCE = 0.1
"""Share of characters that may differ: blur and noise cost some commas."""
NO_EXCUSE = {WarningReason.PAGES_SKIPPED}
"""Warnings that do not explain why the text is not read."""


@dataclass(frozen=True)
class Found:
    """Error rate of a file's text, and the reasons of its warnings."""

    error: float
    warnings: frozenset[WarningReason]
    text: str


def read(path: Path, languages: tuple[str, ...], scratch: Path) -> Found:
    result = recognize(path, RecognitionOptions(languages=languages), scratch=scratch, on_progress=lambda *_: None)
    text = normal("\n".join(page.text for page in result.pages))
    return Found(jiwer.cer(TEXT, text), frozenset(warning.reason for warning in result.warnings), text)


def test_any_page_has_its_text_or_a_warning(tmp_path):
    clean(300).save(tmp_path / "clean.png")
    assert read(tmp_path / "clean.png", (), tmp_path) == Found(0.0, frozenset(), TEXT)

    @given(degraded(readable=True), st.sampled_from([(), ("en",)]))
    @slow_examples(usual=5, long=300)
    def holds(way, languages):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            found = read(write(way, Path(folder)), languages, Path(folder))
        note(str(found))
        assert found.error <= TOLERANCE or found.warnings - NO_EXCUSE

    holds()
