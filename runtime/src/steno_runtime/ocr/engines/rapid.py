"""RapidOCR with the PP-OCRv6 models of its wheel: Latin, Chinese and Japanese.

Separate because every engine is a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steno_runtime.ocr.engines.base import PageQuality, RecognizedLine, RecognizedWord
from steno_runtime.ocr.engines.columns import columns_marked
from steno_runtime.ocr.engines.detector import quad_of, rapid_ocr
from steno_runtime.ocr.languages import script

if TYPE_CHECKING:
    from steno_runtime.triton.client import TritonClient

SCRIPTS = frozenset({"Latn", "Hani", "Jpan"})
"""Scripts of the packaged recognition model; its dictionary has no Hangul, Cyrillic, Arabic or Indic letters."""


class RapidEngine:
    """RapidOCR, as a `RecognitionEngine`.

    Args:
        threads: of its models in this process.
        triton: the server that has its models; None: this process.
    """

    name = "rapidocr"

    def __init__(self, threads: int = 1, *, triton: TritonClient | None = None) -> None:
        self._threads = threads
        self._triton = triton
        self._rapid: Any = None

    def reads(self, languages: Sequence[str]) -> bool:
        """Return whether the packaged model has the letters of all `languages`."""
        return all(script(language) in SCRIPTS for language in languages)

    def recognize(self, image: np.ndarray, languages: Sequence[str], quality: PageQuality) -> list[RecognizedLine]:  # noqa: ARG002
        """See `RecognitionEngine`; one model reads all its languages at once, and columns as well as rows."""
        if self._rapid is None:
            self._rapid = rapid_ocr(self._threads, triton=self._triton, **{"Global.return_word_box": True})
        result = self._rapid(np.ascontiguousarray(image[:, :, ::-1]), use_det=True, use_rec=True)
        unread = [RecognizedLine(quad_of(corners), "", 0.0) for corners in self._rapid.unread]
        if result.boxes is None or not result.txts:
            return unread
        words: Sequence[Any] = (
            result.word_results if len(result.word_results) == len(result.txts) else [()] * len(result.txts)
        )
        lines = [
            RecognizedLine(
                quad_of(corners),
                text.strip(),
                _unit(line_score),
                tuple(
                    RecognizedWord(quad_of(at), word, _unit(confidence))
                    for word, confidence, at in parts
                    if word.strip()
                ),
            )
            for corners, text, line_score, parts in zip(result.boxes, result.txts, result.scores, words, strict=True)
        ]
        return [*columns_marked(image, lines, self._read_row), *unread]

    def _read_row(self, row: np.ndarray) -> str:
        read = self._rapid(np.ascontiguousarray(row[:, :, ::-1]), use_det=False, use_cls=False, use_rec=True)
        return "".join(read.txts or ())


def _unit(score: float) -> float:
    return min(1.0, max(0.0, float(score)))
