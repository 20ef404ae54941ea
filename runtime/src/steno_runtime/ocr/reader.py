"""Reads one page: looks at it, chooses the engine, turns it upright if need be, and puts its lines in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np

from steno_api.documents.pages import Line, Page, Polygon, Region, Word
from steno_runtime.ocr.choose import DOUBT, Choice, choose
from steno_runtime.ocr.engines.paddle import PaddleEngine
from steno_runtime.ocr.engines.rapid import RapidEngine
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.layout import Block, arrange, outline
from steno_runtime.ocr.look import look_at
from steno_runtime.ocr.page import PageError, PageInput
from steno_runtime.ocr.words import Engine, Look, Quad, SeenLine, bounds, mean_confidence, placed

EngineName = Literal["auto", "tesseract", "rapidocr", "paddleocr"]

_READING_DPI = 300
"""Finer pages are scaled down to this first: engines get slower on them, not better."""
_COARSE_DPI = 360
_MIN_SIDE = 12
"""Pixels; smaller pages hold no text."""
_FALLBACK = ("en",)
_MISTAKEN = {"ja": "ko", "zh": "ko", "ko": "zh", "en": "ko"}
"""What a page is tried as next where its script was guessed and nothing sensible came of it."""


@dataclass(frozen=True)
class Reading:
    """What an engine made of a page."""

    lines: tuple[SeenLine, ...]
    engine: str
    reason: str
    rotation: int = 0

    @property
    def confidence(self) -> float:
        """Of the whole page."""
        return mean_confidence(self.lines)

    @property
    def sideways(self) -> bool:
        """Whether most lines run up or down: Tesseract reads a page on its side, but upright is better for layout."""
        long = [bounds([line.quad]) for line in self.lines if len(line.text) > 3]
        upright = sum(right - left >= bottom - top for left, top, right, bottom in long)
        return bool(long) and upright * 2 < len(long)


class PageReader:
    """All engines of one thread; each loads its models when it first reads."""

    def __init__(self, *, engine: EngineName, languages: Sequence[str], model_store: Path | None, threads: int) -> None:
        self._wanted = engine
        self._languages = tuple(languages)
        self._tesseract = TesseractEngine(threads)
        engines: list[Engine] = [self._tesseract, RapidEngine(threads), PaddleEngine(model_store)]
        self._engines = {known.name: known for known in engines}

    def read(self, page: PageInput) -> Page:
        """Reads `page`.

        Raises:
            PageError: no engine here reads its languages.
        """
        if page.pixels is None:
            return page_of(page, page.embedded, engine="embedded", reason="the PDF carries the text", blocks=None)
        if min(page.width, page.height) < _MIN_SIDE:
            return page_of(page, (), engine=None, reason="too small to hold text")
        image, scale = _for_reading(page.pixels, page.dpi)
        look = look_at(image, min(page.dpi, _READING_DPI) if scale < 1 else page.dpi)
        languages, rotation = self._languages, 0
        if not languages:
            seen = self._tesseract.orientation(image)
            rotation, language = seen or (0, None)
            languages = (language,) if language else _FALLBACK
        choice = self._choice(look, languages)
        reading = self._attempt(choice.engines[0], image, languages, look, rotation=rotation, reason=choice.reason)
        if reading.confidence < DOUBT or reading.sideways:
            reading = self._doubt(reading, choice, image, languages, look)
        other = _MISTAKEN.get(languages[0])
        if not self._languages and reading.confidence < DOUBT and other and self._able([other]):
            second = self._choice(look, [other])
            reason = f"{second.reason}; its script was mistaken at first"
            again = self._attempt(second.engines[0], image, [other], look, rotation=reading.rotation, reason=reason)
            reading, languages = max((reading, languages), (again, (other,)), key=lambda pair: _worth(pair[0]))
        blocks = [
            Block(
                block.kind,
                tuple(
                    placed(line, scale=scale, degrees=reading.rotation, width=page.width, height=page.height)
                    for line in block.lines
                ),
            )
            for block in arrange(reading.lines)
        ]
        return page_of(
            page,
            reading.lines,
            engine=reading.engine,
            reason=reading.reason,
            blocks=blocks,
            rotation=reading.rotation,
            languages=languages,
        )

    def _choice(self, look: Look, languages: Sequence[str]) -> Choice:
        choice = choose(look, languages, self._able(languages))
        if not choice.engines:
            missing = ", ".join(self._tesseract.missing(languages))
            who = "no engine" if self._wanted == "auto" else self._wanted
            remedy = f"; install Tesseract's data for {missing} in the runtime's image" if missing else ""
            raise PageError(f"{who} here reads {', '.join(languages)}{remedy}, or use engine: auto")
        return choice if self._wanted == "auto" else Choice(choice.engines, "as asked")

    def _able(self, languages: Sequence[str]) -> set[str]:
        able = {name for name, engine in self._engines.items() if engine.reads(languages)}
        return able if self._wanted == "auto" else able & {self._wanted}

    def _attempt(
        self, name: str, image: np.ndarray, languages: Sequence[str], look: Look, *, rotation: int, reason: str
    ) -> Reading:
        upright = np.ascontiguousarray(np.rot90(image, -rotation // 90)) if rotation else image
        lines = self._engines[name].recognise(upright, languages, look)
        return Reading(tuple(lines), name, reason, rotation)

    def _doubt(
        self, reading: Reading, choice: Choice, image: np.ndarray, languages: Sequence[str], look: Look
    ) -> Reading:
        """Reads again what was read badly: upright if it lies on its side or head, then by the next engine."""
        readings = [reading]
        if not reading.rotation and (seen := self._tesseract.orientation(image)) and seen[0]:
            reason = f"{reading.reason}; turned by {seen[0]}°"
            readings.append(self._attempt(reading.engine, image, languages, look, rotation=seen[0], reason=reason))
        if reading.sideways and len(readings) > 1 and _worth(readings[1]) > 0.8 * _worth(reading):
            readings.pop(0)
        best = max(readings, key=_worth)
        if best.confidence < DOUBT and len(choice.engines) > 1:
            reason = f"{best.reason}; {reading.engine} was unsure ({best.confidence:.2f})"
            readings.append(
                self._attempt(choice.engines[1], image, languages, look, rotation=best.rotation, reason=reason)
            )
        return max(readings, key=_worth)


def _worth(reading: Reading) -> float:
    """Sure characters count, whoever read them."""
    return sum(line.confidence**2 * len(line.text) for line in reading.lines)


def _for_reading(pixels: np.ndarray, dpi: int) -> tuple[np.ndarray, float]:
    if dpi <= _COARSE_DPI:
        return pixels, 1.0
    scale = _READING_DPI / dpi
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale


def page_of(
    page: PageInput,
    lines: Sequence[SeenLine],
    *,
    engine: str | None,
    reason: str,
    blocks: Sequence[Block] | None = None,
    rotation: int = 0,
    languages: Sequence[str] = (),
) -> Page:
    """The document's page of what was seen; without `blocks` the lines are arranged here."""
    arranged = arrange(lines) if blocks is None else blocks
    regions = tuple(
        Region(kind=block.kind, polygon=_polygon(outline(block.lines)), lines=tuple(map(_line, block.lines)))
        for block in arranged
    )
    return Page(
        number=page.number,
        width=page.width,
        height=page.height,
        dpi=page.dpi,
        rotation=cast("Literal[0, 90, 180, 270]", rotation),
        languages=tuple(languages),
        engine=engine,
        engine_reason=reason,
        confidence=round(mean_confidence(lines), 4),
        regions=regions,
        text="\n\n".join("\n".join(line.text for line in region.lines) for region in regions),
    )


def bad_page(number: int, error: str) -> Page:
    """A page that could not be read."""
    return Page(number=number, width=0, height=0, dpi=0, error=error)


def _line(line: SeenLine) -> Line:
    words = tuple(
        Word(polygon=_polygon(word.quad), text=word.text, confidence=round(word.confidence, 4)) for word in line.words
    )
    return Line(polygon=_polygon(line.quad), text=line.text, confidence=round(line.confidence, 4), words=words)


def _polygon(quad: Quad) -> Polygon:
    a, b, c, d = ((round(x), round(y)) for x, y in quad)
    return a, b, c, d
