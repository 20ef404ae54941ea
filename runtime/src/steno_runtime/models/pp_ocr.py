"""PP-OCR's ONNX models, where RapidOCR's package has them: the ones that it runs by default.

Separate because both the export of models and the engine that checks a server's models need them.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal

PPOCRTask = Literal["det", "rec"]
"""PP-OCR's own words: text detection and text recognition."""


@functools.cache
def model_path(task: PPOCRTask) -> Path:
    """Return the ONNX file of a task."""
    import rapidocr
    from rapidocr.inference_engine.base import FileInfo, InferSession
    from rapidocr.main import DEFAULT_CFG_PATH
    from rapidocr.utils.parse_parameters import ParseParams

    config = ParseParams.load(DEFAULT_CFG_PATH)["Det" if task == "det" else "Rec"]
    wanted = FileInfo(
        config.engine_type,
        config.ocr_version,
        config.task_type,
        lang_type=config.lang_type,
        model_type=config.model_type,
    )
    name = Path(InferSession.get_model_url(wanted)["model_dir"]).name
    return Path(rapidocr.__file__).parent / "models" / name


@functools.cache
def model_digest(task: PPOCRTask) -> str:
    """Return the SHA-256 of a task's ONNX file."""
    with model_path(task).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def characters() -> str:
    """Return the characters that the recognition model distinguishes, one a line, as its metadata has them."""
    import onnx

    metadata = onnx.load(model_path("rec")).metadata_props
    return next(entry.value for entry in metadata if entry.key == "character")
