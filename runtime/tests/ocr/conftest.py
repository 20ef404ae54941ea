from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steno_runtime.ocr.pipeline import RecognitionOptions, RecognitionResult, recognize

Read = Callable[..., RecognitionResult]


@pytest.fixture
def read(tmp_path) -> Read:
    """Reads a file with the given options."""

    def run(path: Path, **options) -> RecognitionResult:
        scratch = tmp_path / f"scratch{len(list(tmp_path.glob('scratch*')))}"
        scratch.mkdir()
        return recognize(path, RecognitionOptions(**options), scratch=scratch, on_progress=lambda *_: None)

    return run
