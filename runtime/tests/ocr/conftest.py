from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steno_runtime.ocr.pipeline import Options, Result, recognize

Read = Callable[..., Result]


@pytest.fixture
def read(tmp_path) -> Read:
    """Reads a file with the given options."""

    def run(path: Path, **options) -> Result:
        scratch = tmp_path / f"scratch{len(list(tmp_path.glob('scratch*')))}"
        scratch.mkdir()
        return recognize(path, Options(**options), scratch=scratch, on_progress=lambda *_: None)

    return run
