"""RapidOCR with the PP-OCRv6 models of its wheel: Latin, Chinese and Japanese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steno_runtime.ocr.engines.detector import as_quad, rapid_ocr
from steno_runtime.ocr.languages import script
from steno_runtime.ocr.words import Look, SeenLine, SeenWord

SCRIPTS = frozenset({"Latn", "Hani", "Jpan"})
"""Of the packaged recognition model; its dictionary has no Hangul, Cyrillic, Arabic or Indic letters."""


class RapidEngine:
    """RapidOCR."""

    name = "rapidocr"

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._rapid: Any = None

    def reads(self, languages: Sequence[str]) -> bool:
        """Whether the packaged model has the letters of all `languages`."""
        return all(script(language) in SCRIPTS for language in languages)

    def recognise(self, image: np.ndarray, languages: Sequence[str], look: Look) -> list[SeenLine]:  # noqa: ARG002
        """Reads `image`; its one model reads all its languages at once."""
        if self._rapid is None:
            self._rapid = rapid_ocr(self._threads, **{"Global.return_word_box": True})
        result = self._rapid(np.ascontiguousarray(image[:, :, ::-1]))
        if result.boxes is None or not result.txts:
            return []
        words: Sequence[Any] = (
            result.word_results if len(result.word_results) == len(result.txts) else [()] * len(result.txts)
        )
        return [
            SeenLine(
                as_quad(corners),
                text.strip(),
                _unit(score),
                tuple(SeenWord(as_quad(at), word, _unit(sure)) for word, sure, at in parts if word.strip()),
            )
            for corners, text, score, parts in zip(result.boxes, result.txts, result.scores, words, strict=True)
        ]


def _unit(score: float) -> float:
    return min(1.0, max(0.0, float(score)))
