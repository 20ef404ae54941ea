"""PaddleOCR 3 over ONNX Runtime, where its package is installed and the model store has its models.

The store has `paddleocr/det` and one `paddleocr/rec-<script>` per script (`rec-latn`, `rec-hang`, …), each a directory
of an official PP-OCR ONNX model with its `inference.yml`. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steno_runtime.models.store import ANY, find
from steno_runtime.ocr.engines.base import PageQuality, RecognizedLine
from steno_runtime.ocr.engines.detector import quad_of
from steno_runtime.ocr.languages import script

_FOLDER = "paddleocr"


class PaddleEngine:
    """PaddleOCR, as a `RecognitionEngine`."""

    name = "paddleocr"

    def __init__(self, store: Path | None, digests: Mapping[str, str] = ANY) -> None:
        """Prepare.

        Args:
            store: the model store.
            digests: see `models.store.find`.
        """
        self._models, self._digests = store, digests
        self._store = store / _FOLDER if store else None
        self._pipelines: dict[str, Any] = {}

    def reads(self, languages: Sequence[str]) -> bool:
        """Return whether the package is installed and the store has a model of every script."""
        if self._store is None or not (self._store / "det").is_dir() or importlib.util.find_spec("paddleocr") is None:
            return False
        scripts = {script(language) for language in languages} - {"Latn"} or {"Latn"}
        return len(scripts) == 1 and (self._store / f"rec-{scripts.pop().lower()}").is_dir()

    def recognize(self, image: np.ndarray, languages: Sequence[str], quality: PageQuality) -> list[RecognizedLine]:  # noqa: ARG002
        """See `RecognitionEngine`; models of other scripts read Latin letters too."""
        scripts = {script(language) for language in languages} - {"Latn"} or {"Latn"}
        lines: list[RecognizedLine] = []
        for result in self._pipeline(scripts.pop().lower()).predict(np.ascontiguousarray(image[:, :, ::-1])):
            parts = zip(result["rec_polys"], result["rec_texts"], result["rec_scores"], strict=True)
            lines += [
                RecognizedLine(quad_of(at), text, min(1.0, max(0.0, float(score)))) for at, text, score in parts if text
            ]
        return lines

    def _pipeline(self, script_name: str) -> Any:
        if script_name not in self._pipelines:
            os.environ.setdefault("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
            from paddleocr import PaddleOCR  # type: ignore[import-not-found]

            assert self._models is not None  # noqa: S101  (`reads` checks it)
            detection, recognition = (
                find(self._models, f"{_FOLDER}/{name}", ("inference.yml",), self._digests)
                for name in ("det", f"rec-{script_name}")
            )
            self._pipelines[script_name] = PaddleOCR(
                text_detection_model_dir=str(detection),
                text_recognition_model_dir=str(recognition),
                use_doc_orientation_classify=False,
                use_doc_unwarping=False,
                use_textline_orientation=False,
                engine="onnxruntime",
            )
        return self._pipelines[script_name]
