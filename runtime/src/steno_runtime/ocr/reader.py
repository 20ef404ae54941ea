"""OCR of one page: assess its quality, select the engine, turn it upright if need be, and order its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from steno_api.documents.pages import EngineName, Page
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.models.store import ANY
from steno_runtime.ocr.assembly import build_page
from steno_runtime.ocr.engine_selection import MIN_CONFIDENCE, EngineSelection, assess_page, select_engine
from steno_runtime.ocr.engines.base import (
    PageQuality,
    RecognitionEngine,
    RecognizedLine,
    map_to_page,
    moved,
)
from steno_runtime.ocr.engines.detector import DETECTION_SIDE
from steno_runtime.ocr.engines.foreign import read_foreign
from steno_runtime.ocr.engines.paddle import PaddleEngine
from steno_runtime.ocr.engines.rapid import SCRIPTS, RapidEngine
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.engines.tiling import loses_letters, may_need_tiles
from steno_runtime.ocr.geometry import shifted
from steno_runtime.ocr.languages import OSD_SCRIPTS, UNWRITTEN, language_of, may_be_in, script
from steno_runtime.ocr.latin import latin_language
from steno_runtime.ocr.layout import Block, arrange, is_order_guessed
from steno_runtime.ocr.page import PageError, PageInput
from steno_runtime.ocr.reading import Reading, is_noise, is_upright, score
from steno_runtime.ocr.resolution import assumed_dpi, is_blank, letter_height, scale_for_reading
from steno_runtime.triton.client import TritonClient

_MIN_SIDE = 12
"""Pixels; smaller pages hold no text."""
_FALLBACK = ("en",)
_CONFUSED_WITH = {"ja": ("ko",), "zh": ("ko",), "ko": ("zh",), "en": ("ko", "ru")}
"""The languages to try next where the script was guessed and the result is not plausible; else English."""
_AS_GOOD = 0.9
"""Share of the score of a reading in Cyrillic or Greek at which one in Latin letters of the same shapes is taken, and
the other way round: Latin is by far the likeliest."""
_FEW_CHARACTERS = 200
"""Read again the other three ways, if Tesseract cannot tell how they lie: that costs little."""
_HARDLY = 0.5
"""RapidOCR reads letters that it does not know with less confidence than this; on clean pages no line."""
_NOT_RAPID = tuple(dict.fromkeys(tag for tag in OSD_SCRIPTS.values() if script(tag) not in {*SCRIPTS, "Latf"}))
"""A language of each script whose letters RapidOCR does not know."""
_FEW_LINES = 20
"""Hardly read lines that are tried in other scripts: of a whole page in one its script would be known."""
_MARGIN = 24
"""Pixels of white around a part of a page: engines miss letters at the edge."""


@dataclass(frozen=True)
class _PageImage:
    """A page as engines are given it: RGB pixels, their quality, and the languages to read it in."""

    pixels: np.ndarray
    quality: PageQuality
    languages: Sequence[str]


class PageReader:
    """The engines of one thread; each loads its models at its first page."""

    def __init__(
        self,
        *,
        engine: EngineName,
        languages: Sequence[str],
        model_store: Path | None,
        model_digests: Mapping[str, str] = ANY,
        threads: int,
        triton: TritonClient | None = None,
        warn: Callable[[ResultWarning], None] = lambda _: None,
    ) -> None:
        """Prepare the engines; nothing is loaded yet.

        Args:
            engine: `auto` selects one for each page.
            languages: BCP 47, the main one first; empty: each page's script decides.
            model_store: where `paddleocr/` is looked for.
            model_digests: of the models that may be loaded from there; see `models.store.find`.
            threads: CPU threads of one engine.
            triton: the server that has the PP-OCR models; None: this process.
            warn: called with what is doubtful.
        """
        self._warn = warn
        self._wanted = engine
        self._languages = tuple(languages)
        self._tesseract = TesseractEngine(threads, triton=triton)
        rapid, paddle = RapidEngine(threads, triton=triton), PaddleEngine(model_store, model_digests)
        engines: list[RecognitionEngine] = [self._tesseract, rapid, paddle]
        self._engines = {known.name: known for known in engines}

    def read(self, page: PageInput) -> Page:
        """Read a page.

        Raises:
            PageError: no engine here reads its languages.
        """
        if page.pixels is None:
            self._judge_order(page.embedded, page.number)
            lines = (*page.embedded, *self._read_pictures(page))
            return build_page(page, lines, engine="embedded", reason="the PDF carries the text", blocks=None)
        if min(page.width, page.height) < _MIN_SIDE:
            return build_page(page, page.embedded, engine=None, reason="too small to hold text")
        image, scale = scale_for_reading(page.pixels)
        if is_blank(image):
            return build_page(page, page.embedded, engine=None, reason="blank")
        reading, languages = self._recognize(image, page.number)
        self._judge_order(reading.lines, page.number)
        blocks = [
            Block(
                block.kind,
                tuple(
                    map_to_page(line, scale=scale, degrees=reading.rotation, width=page.width, height=page.height)
                    for line in block.lines
                ),
            )
            for block in arrange(reading.lines)
        ]
        return build_page(
            page,
            (*reading.lines, *page.embedded),
            engine=reading.engine,
            reason=reading.reason,
            blocks=[*blocks, *arrange(page.embedded)],
            rotation=reading.rotation,
            languages=languages,
        )

    def _judge_order(self, lines: Sequence[RecognizedLine], number: int) -> None:
        if is_order_guessed(lines):
            message = f"Lines of page {number} are beside each other, but neither rows nor columns: check their order."
            self._warn(ResultWarning(reason=WarningReason.READING_ORDER_UNCERTAIN, message=message, page=number))

    def _recognize(self, image: np.ndarray, number: int) -> tuple[Reading, Sequence[str]]:
        """Read an image of page `number` and return the languages that it was read in, too."""
        quality = assess_page(image, assumed_dpi(image))
        languages, rotation, certain = self._languages, 0, True
        unknown = ""
        if not languages:
            detected = self._tesseract.orientation(image)
            rotation, language = detected or (0, None)
            if language and not self._available([language]) and self._available(_FALLBACK):
                unknown, language = language, UNWRITTEN.get(language.lower())
            certain = language is not None
            languages = (language,) if language else _FALLBACK
        page_image = _PageImage(image, quality, languages)
        selection = self._select(page_image)
        first = reading = self._read_first(selection, page_image, rotation)
        if reading.confidence < MIN_CONFIDENCE or reading.sideways:
            reading = self._reread(reading, selection, page_image)
        if reading.engine == RapidEngine.name and quality.is_print and _is_small_print(image):
            message = f"The print of page {number} is so small that lines may be missing: check it, or cut it up."
            self._warn(ResultWarning(reason=WarningReason.REDUCED_RESOLUTION, message=message, page=number))
        if not self._languages:
            reading, languages = self._read_as_others(reading, page_image, first)
            reading, languages = self._read_as_likeliest(reading, languages, page_image, upright=rotation)
            reading, languages = self._read_in_its_language(reading, languages, page_image, number)
            if reading.engine == RapidEngine.name and len(languages) == 1:
                languages = (language_of(" ".join(line.text for line in reading.lines), languages[0]),)
            reading, languages = self._read_foreign_lines(reading, languages, page_image)
            doubted = reading.confidence < MIN_CONFIDENCE or (
                first.confidence < MIN_CONFIDENCE and first.rotation == reading.rotation and languages == _FALLBACK
            )
            if unknown or (not certain and reading.lines and doubted):
                named = doubted or not reading.lines or unknown.lower() in UNWRITTEN
                self._warn_of_script(number, unknown if named else "")
        rapid = reading.engine == RapidEngine.name
        if hardly := sum(line.confidence < _HARDLY if rapid else not line.text for line in reading.lines):
            message = f"{hardly} of the lines of page {number} could hardly be read, or not at all: look at the page."
            self._warn(ResultWarning(reason=WarningReason.LOW_CONFIDENCE, message=message, page=number))
        return reading, languages

    def _warn_of_script(self, number: int, unknown: str) -> None:
        """Say that the script of page `number` was guessed; `unknown`: what it may be, but no engine here reads."""
        message = f"The script of page {number} was guessed: name the document's languages."
        if unknown:
            data = ", ".join(self._tesseract.missing([unknown]))
            remedy = f"; install Tesseract's data for {data} in the runtime's image" if data else ""
            message = f"Page {number} may be in {unknown}, which no engine here reads: its text is doubtful{remedy}."
        self._warn(ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message, page=number))

    def _read_pictures(self, page: PageInput) -> Iterator[RecognizedLine]:
        """Yield the lines of a page's pictures; one that is read with little confidence is only named."""
        for picture in page.pictures:
            if min(picture.pixels.shape[:2]) < _MIN_SIDE:
                continue
            edge = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
            framed = np.pad(picture.pixels, edge, constant_values=255)
            height, width = framed.shape[:2]
            image, scale = scale_for_reading(framed)
            if is_blank(image):
                continue
            reading, _ = self._recognize(image, page.number)
            if reading.confidence < MIN_CONFIDENCE:
                message = (
                    f"A stamp on page {page.number} is a picture that could not be read with confidence: look at it."
                )
                self._warn(ResultWarning(reason=WarningReason.LOW_CONFIDENCE, message=message, page=page.number))
                continue
            for line in reading.lines:
                in_frame = map_to_page(line, scale=scale, degrees=reading.rotation, width=width, height=height)
                yield moved(in_frame, partial(shifted, right=picture.left - _MARGIN, down=picture.top - _MARGIN))

    def _select(self, image: _PageImage) -> EngineSelection:
        languages = image.languages
        selection = select_engine(image.quality, languages, self._available(languages))
        if not selection.engines:
            raise self._unreadable(languages)
        return selection if self._wanted == "auto" else EngineSelection(selection.engines, "as asked")

    def _unreadable(self, languages: Sequence[str]) -> PageError:
        missing = ", ".join(self._tesseract.missing(languages))
        who = "no engine" if self._wanted == "auto" else self._wanted
        remedy = f"; install Tesseract's data for {missing} in the runtime's image" if missing else ""
        return PageError(f"{who} here reads {', '.join(languages)}{remedy}, or do not name an engine")

    def _available(self, languages: Sequence[str]) -> set[str]:
        available = {name for name, engine in self._engines.items() if engine.reads(languages)}
        return available if self._wanted == "auto" else available & {self._wanted}

    def _read_first(self, selection: EngineSelection, image: _PageImage, rotation: int) -> Reading:
        """Read a page by the engine that is tried first, turned as it seems to lie.

        Columns of upright letters look like rows that lie on their side, so they are looked for first.
        """
        name, reason = selection.engines[0], selection.reason
        if rotation in (90, 270) and {"Hani", "Jpan"} & {script(language) for language in image.languages}:
            as_it_lies = self._read_with(name, image, rotation=0, reason=reason)
            if as_it_lies.vertical:
                return as_it_lies
        return self._read_with(name, image, rotation=rotation, reason=reason)

    def _read_with(self, name: str, image: _PageImage, *, rotation: int, reason: str) -> Reading:
        pixels = _turn(image.pixels, rotation)
        lines = self._engines[name].recognize(pixels, image.languages, image.quality)
        return Reading(tuple(line for line in lines if not is_noise(line, pixels)), name, reason, rotation)

    def _reread(self, reading: Reading, selection: EngineSelection, image: _PageImage) -> Reading:
        """Read a page again that was read with little confidence: upright, then by the next engine."""
        readings = [reading]
        if not reading.rotation:
            detected = self._tesseract.orientation(image.pixels)
            if detected and detected[0]:
                readings.append(self._turned(reading, image, detected[0]))
            elif detected is None and 0 < reading.characters <= _FEW_CHARACTERS:  # too little text for it to tell
                others = [self._turned(reading, image, degrees) for degrees in (90, 180, 270)]
                readings += [other for other in others if is_upright(other, reading)]
        if reading.sideways and len(readings) > 1 and score(readings[1]) > 0.8 * score(reading):
            readings.pop(0)
        best = max(readings, key=score)
        if best.confidence < MIN_CONFIDENCE and len(selection.engines) > 1:
            reason = f"{best.reason}; {reading.engine} was not confident ({best.confidence:.2f})"
            second = selection.engines[1]
            readings.append(self._read_with(second, image, rotation=best.rotation, reason=reason))
            if best.rotation != reading.rotation:  # it was turned for letters that were doubted
                reason = f"{reading.reason}; {reading.engine} was not confident ({reading.confidence:.2f})"
                readings.append(self._read_with(second, image, rotation=reading.rotation, reason=reason))
            best = max(readings, key=score)
        if best.sideways and not best.rotation:  # nothing says how it lies but its lines
            readings += [self._turned(best, image, degrees) for degrees in (90, 270)]
        return max(readings, key=score)

    def _turned(self, reading: Reading, image: _PageImage, degrees: int) -> Reading:
        reason = f"{reading.reason}; turned by {degrees}°"
        return self._read_with(reading.engine, image, rotation=degrees, reason=reason)

    def _read_as_others(self, reading: Reading, image: _PageImage, first: Reading) -> tuple[Reading, Sequence[str]]:
        """Read a page, whose script was guessed, in those that it may be in as well; return the best and its language.

        Letters of the same shapes are read with confidence in either alphabet: then the Latin one is taken, unless the
        same engine is sure of the other.

        Args:
            reading: the best so far.
            image: the page, in the language that was guessed.
            first: the first engine's own reading.
        """
        best, languages = reading, image.languages
        text = " ".join(line.text for line in reading.lines)
        same_shapes = may_be_in(text, languages[0])
        doubtful = reading.confidence < MIN_CONFIDENCE
        others = _CONFUSED_WITH.get(languages[0], _FALLBACK) if doubtful else ()
        tried: tuple[str, ...] = (same_shapes, *others) if same_shapes else others
        for other in dict.fromkeys(tried):
            if other in image.languages or not self._available([other]):
                continue
            as_other = _PageImage(image.pixels, image.quality, (other,))
            second = self._select(as_other)
            reason = f"{second.reason}; its script was detected wrongly at first"
            again = self._read_with(second.engines[0], as_other, rotation=reading.rotation, reason=reason)
            rival = first if first.engine == again.engine and other == same_shapes else best
            needed = 1.0 if other != same_shapes else _AS_GOOD if other == "en" else 1 / _AS_GOOD
            sure = other != same_shapes or other == "en" or again.confidence >= _AS_GOOD
            if sure and score(again) > needed * score(rival):
                best, languages = again, (other,)
        return best, languages

    def _read_in_its_language(
        self, reading: Reading, languages: Sequence[str], image: _PageImage, number: int
    ) -> tuple[Reading, Sequence[str]]:
        """Read page `number` again if it was taken for English, but its words are another language's: accents are lost.

        Args:
            reading: the best so far.
            languages: that it was read in.
            image: the page.
            number: of the page.
        """
        language = latin_language(" ".join(line.text for line in reading.lines)) if languages == _FALLBACK else None
        if language is None or language in languages:
            return reading, languages
        if not self._available([language]):
            data = ", ".join(self._tesseract.missing([language]))
            message = f"Page {number} is in {language}, but was read as English: install Tesseract's data for {data}."
            self._warn(ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message, page=number))
            return reading, languages
        in_it = _PageImage(image.pixels, image.quality, (language,))
        selection = self._select(in_it)
        if reading.engine == RapidEngine.name:  # it reads all Latin letters at once
            return reading, in_it.languages
        reason = f"{selection.reason}; its words are {language}"
        again = self._read_with(selection.engines[0], in_it, rotation=reading.rotation, reason=reason)
        return (again, in_it.languages) if score(again) >= _AS_GOOD * score(reading) else (reading, languages)

    def _read_foreign_lines(
        self, reading: Reading, languages: Sequence[str], image: _PageImage
    ) -> tuple[Reading, Sequence[str]]:
        """Read the lines that RapidOCR hardly reads in the scripts that it does not know, if their data is here.

        Args:
            reading: of the page, but for those lines.
            languages: that it was read in.
            image: the page.
        """
        hardly = {number: line for number, line in enumerate(reading.lines) if line.confidence < _HARDLY}
        if reading.engine != RapidEngine.name or self._wanted != "auto" or not 0 < len(hardly) <= _FEW_LINES:
            return reading, languages
        readable = [language for language in _NOT_RAPID if self._tesseract.reads([language])]
        found = read_foreign(self._tesseract, _turn(image.pixels, reading.rotation), hardly, readable)
        if found is None:
            return reading, languages
        language, lines = found
        read = tuple(lines.get(number, line) for number, line in enumerate(reading.lines))
        reason = f"{reading.reason}; {len(lines)} of its lines by tesseract in {script(language)}"
        return replace(reading, lines=read, reason=reason), (*languages, language)

    def _read_as_likeliest(
        self, reading: Reading, languages: Sequence[str], image: _PageImage, *, upright: int
    ) -> tuple[Reading, Sequence[str]]:
        """Read a page that is still doubtful in the script that its longest lines are read in best.

        Args:
            reading: the best so far.
            languages: that it was read in.
            image: the page.
            upright: how far it must be turned by what its letters look like.
        """
        if reading.confidence >= MIN_CONFIDENCE or self._wanted not in ("auto", self._tesseract.name):
            return reading, languages
        tried = {"Latn", "Latf", *map(script, (*languages, *_CONFUSED_WITH.get(image.languages[0], _FALLBACK)))}
        others = [language for language in dict.fromkeys(OSD_SCRIPTS.values()) if script(language) not in tried]
        likeliest = self._tesseract.likeliest(_turn(image.pixels, upright), others, image.quality.dpi)
        if likeliest is None:
            return reading, languages
        as_likeliest = _PageImage(image.pixels, image.quality, (likeliest,))
        selection = self._select(as_likeliest)
        reason = f"{selection.reason}; its script was detected wrongly at first"
        again = self._read_with(selection.engines[0], as_likeliest, rotation=upright, reason=reason)
        return (again, (likeliest,)) if score(again) > score(reading) else (reading, languages)


def _turn(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """Return a page turned clockwise."""
    return np.ascontiguousarray(np.rot90(pixels, -degrees // 90)) if degrees else pixels


def _is_small_print(image: np.ndarray) -> bool:
    """Return whether the detector of lines, which sees a page this large as a whole, misses its letters."""
    height, width = image.shape[:2]
    if max(width, height) <= DETECTION_SIDE or may_need_tiles(width, height):
        return False
    return loses_letters(width, height, letter_height(image), DETECTION_SIDE)
