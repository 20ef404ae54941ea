"""Tesseract 5 in-process, with the language data of Debian's `tesseract-ocr-*` packages.

It finds the lines itself only on even print in the Latin script, where its page analysis gives blocks and columns. Its
analysis drops words of Hangul and loses whole lines in shadow, so otherwise PP-OCR's detector finds the lines and
Tesseract reads them one by one: on clean Korean pages 0.15 % of the characters are wrong instead of 7 % or more.
"""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.deskew import Deskewed, measure_skew
from steno_runtime.ocr.engines.base import PageQuality, RecognizedLine, RecognizedWord, mean_confidence, moved
from steno_runtime.ocr.engines.detector import LineDetector
from steno_runtime.ocr.engines.unread import unread_rows
from steno_runtime.ocr.geometry import Quad, box
from steno_runtime.ocr.languages import OSD_SCRIPTS, script, tesseract_names

if TYPE_CHECKING:
    from steno_runtime.triton.client import TritonClient

_TESSDATA = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
)
_GUESSED_DPI = 200
_LATIN = re.compile("[A-Za-z]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]+[.,!?:;)\"']*")
_MIN_HANGUL_CONFIDENCE = 0.75
_BRACKETS = str.maketrans(")]}>\u00bb", "([{<\u00ab")
_JOINERS = "\u200c\u200d"
"""Persian and Indic words have them between their letters."""
_FROM_THE_RIGHT = frozenset({"Arab", "Hebr"})
_LATIN_LANGUAGES = ("en",)
_LATIN_SCRIPTS = frozenset({"Latn", "Latf"})
_AS_SURE = 0.8
"""Share of the confidence of a model of Arabic or Hebrew in a few digits at which that of Latin letters is taken."""
_HEIGHTS = 40, 64
"""Pixels to which a line is scaled for a second and a third try."""
_SURE, _FEWEST = 0.75, 2
"""Confidence and characters of a line that is read without looking for its letters: specks are read with less."""
_EDGE = 8
"""Pixels of white around a line that is read alone."""
_MIN_LOST_CONFIDENCE = 0.3
"""Of a line that the page analysis left out; texture is read with less. Doubtful ones count for the page's doubt."""
_LOOKED_AT, _MIN_SCRIPT_CONFIDENCE = 3, 0.5
"""Lines by which a script is guessed, and what they must be read with more than."""
_TURN_CONFIDENCE = 2.0
"""Below this Tesseract's own guess of the orientation is no better than a coin."""


def tessdata() -> Path | None:
    """Return the directory of language data: `TESSDATA_PREFIX`, else Debian's."""
    candidates = [os.environ.get("TESSDATA_PREFIX", ""), *_TESSDATA]
    return next(
        (Path(candidate) for candidate in candidates if candidate and any(Path(candidate).glob("*.traineddata"))), None
    )


def is_installed(language: str) -> bool:
    """Return whether the data of a known language is installed."""
    folder = tessdata()
    return folder is not None and all((folder / f"{name}.traineddata").exists() for name in tesseract_names([language]))


_loading = threading.Lock()


def _load() -> None:
    """Import tesserocr with its OpenMP limited to one thread: pages are read in parallel, more threads only cost.

    Its OpenMP library reads the limit when it is loaded. The variable must be removed then: it would apply to every
    other such library of this process and of its children, and slow down a speech engine.
    """
    with _loading:
        before = os.environ.get("OMP_THREAD_LIMIT")
        os.environ["OMP_THREAD_LIMIT"] = before or "1"
        try:
            import tesserocr  # noqa: F401
        finally:
            if before is None:
                del os.environ["OMP_THREAD_LIMIT"]


class TesseractEngine:
    """Tesseract, as a `RecognitionEngine`; `triton` is the server that has the detector, if this process has not."""

    name = "tesseract"

    def __init__(self, threads: int = 1, *, triton: TritonClient | None = None) -> None:
        _load()
        self._data = tessdata()
        self._detector = LineDetector(threads, triton=triton)
        self._apis: dict[str, Any] = {}

    def missing(self, languages: Sequence[str]) -> list[str]:
        """Return the names of the language data that is not installed."""
        return [
            name
            for name in tesseract_names(languages)
            if self._data is None or not (self._data / f"{name}.traineddata").exists()
        ]

    def reads(self, languages: Sequence[str]) -> bool:
        """Return whether the data of all `languages` is installed."""
        return bool(languages) and not self.missing(languages)

    def recognize(self, image: np.ndarray, languages: Sequence[str], quality: PageQuality) -> list[RecognizedLine]:
        """See `RecognitionEngine`; the lines are found by its own page analysis or line by line."""
        import tesserocr

        if quality.is_print and all(script(language) in _LATIN_SCRIPTS for language in languages):
            angle = measure_skew(image)
            upright = Deskewed(image, angle) if angle else None
            pixels = upright.pixels if upright else image
            api = self._api(tesseract_names(languages), tesserocr.PSM.AUTO)
            _set(api, pixels, quality.dpi)
            api.Recognize()
            lines = self._with_lost(_lines(api), pixels, languages, quality.dpi)
            return [moved(line, upright.on_page) for line in lines] if upright else lines
        return [
            self._line(quad, crop, languages, quality.dpi) or RecognizedLine(quad, "", 0.0)
            for quad, crop in self._detector.find(image)
        ]

    def _with_lost(
        self, lines: list[RecognizedLine], image: np.ndarray, languages: Sequence[str], dpi: int
    ) -> list[RecognizedLine]:
        """Return the lines that the page analysis found and those that it lost.

        Where it lost lines, such as the head of a table, its blocks are wrong as well: the lines' places decide.
        """
        edge = ((_EDGE, _EDGE), (_EDGE, _EDGE), (0, 0))
        lost: list[RecognizedLine] = []
        for left, top, right, bottom in unread_rows(image, lines):
            crop = np.pad(image[top:bottom, left:right], edge, constant_values=255)
            quad = box(left - _EDGE, top - _EDGE, right + _EDGE, bottom + _EDGE)
            line = self._single(quad, crop, tesseract_names(languages), dpi)
            if line is not None and line.confidence >= _MIN_LOST_CONFIDENCE:
                lost.append(line)
        return [replace(line, block=None) for line in (*lines, *lost)] if lost else lines

    def _line(self, quad: Quad, crop: np.ndarray, languages: Sequence[str], dpi: int) -> RecognizedLine | None:
        """Read one line's crop, whose corners on the page are `quad`."""
        line = self._single(quad, crop, tesseract_names(languages), dpi)
        if line and self._may_be_digits(line, languages):  # models of Arabic and Hebrew lose their points
            digits = self._single(quad, crop, tesseract_names(_LATIN_LANGUAGES), dpi)
            return digits if digits and digits.confidence > _AS_SURE * line.confidence else line
        hangul = [language for language in languages if script(language) == "Hang"]
        if line is None or len(hangul) in (0, len(languages)) or not _LATIN.search(line.text):
            return line
        alone = self._single(quad, crop, tesseract_names(hangul), dpi)
        return replace_false_latin(line, alone) if alone else line

    def read_line(self, quad: Quad, crop: np.ndarray, language: str) -> RecognizedLine | None:
        """Read the crop (height, width, 3; RGB) of one line, whose corners on its page are `quad`, in a language."""
        return self._single(quad, crop, tesseract_names([language]), 0)

    def _may_be_digits(self, line: RecognizedLine, languages: Sequence[str]) -> bool:
        """Return whether a line of a page that is written from the right has none of its letters and digits."""
        from_the_right = any(script(language) in _FROM_THE_RIGHT for language in languages)
        return from_the_right and line.text.isascii() and self.reads(_LATIN_LANGUAGES)

    def _single(self, quad: Quad, crop: np.ndarray, names: list[str], dpi: int) -> RecognizedLine | None:
        """Read one line; where Tesseract finds none in its crop, all of the crop as one, then it in other sizes."""
        import tesserocr

        one = tesserocr.PSM.SINGLE_LINE
        line = self._try_single(quad, crop, names, dpi, one)
        if line is None:
            line = self._try_single(quad, crop, names, dpi, tesserocr.PSM.RAW_LINE)
            if line is None or line.confidence < _SURE or len(line.text) < _FEWEST:
                tries = (self._try_single(quad, _scaled(crop, height), names, dpi, one) for height in _HEIGHTS)
                line = next((found for found in tries if found is not None), None)
        return line

    def _try_single(self, quad: Quad, crop: np.ndarray, names: list[str], dpi: int, mode: int) -> RecognizedLine | None:
        api = self._api(names, mode)
        _set(api, crop, dpi)
        written = api.GetUTF8Text()
        height, width = crop.shape[:2]
        pieces = [
            RecognizedWord(_onto(quad, width, height, word.quad), word.text, word.confidence)
            for line in _lines(api)
            for word in line.words
        ]
        return _joined(join_pieces(pieces, written), quad) if pieces else None

    def likeliest(self, image: np.ndarray, languages: Sequence[str], dpi: int) -> str | None:
        """Return which of `languages` the longest lines of an image are in; None: they are in none whose data is here.

        Args:
            image: upright (height, width, 3; RGB, uint8).
            languages: one of each script; those whose data is not installed are left out.
            dpi: of the image.
        """
        readable = [language for language in languages if self.reads([language])]
        found = self._detector.find(image) if readable else []
        longest = sorted(found, key=lambda line: line[1].shape[1] / line[1].shape[0])[-_LOOKED_AT:]
        sure: dict[str, float] = {}
        for language in readable:
            lines = [self._single(quad, crop, tesseract_names([language]), dpi) for quad, crop in longest]
            sure[language] = mean_confidence([line for line in lines if line])
        best = max(sure, key=lambda language: sure[language], default=None)
        return best if best and longest and sure[best] > _MIN_SCRIPT_CONFIDENCE else None

    def orientation(self, image: np.ndarray) -> tuple[int, str | None] | None:
        """Return degrees clockwise to turn `image` upright, and the language of its script; None if it is not clear."""
        import tesserocr

        if self._data is None or not (self._data / "osd.traineddata").exists():
            return None
        if "osd" not in self._apis:
            self._apis["osd"] = tesserocr.PyTessBaseAPI(path=str(self._data), lang="osd", psm=tesserocr.PSM.OSD_ONLY)
        api = self._apis["osd"]
        _set(api, image, 0)
        seen = api.DetectOrientationScript()
        api.Clear()
        if not seen:
            return None
        turned = int(seen["orient_deg"]) if seen["orient_conf"] >= _TURN_CONFIDENCE else 0
        return (360 - turned) % 360, OSD_SCRIPTS.get(seen["script_name"])

    def _api(self, names: list[str], mode: Any) -> Any:
        import tesserocr

        key = "+".join(names)
        if key not in self._apis:
            try:
                self._apis[key] = tesserocr.PyTessBaseAPI(path=str(self._data), lang=key, psm=mode)
            except RuntimeError as error:
                raise WorkError(
                    FailureReason.MODEL_NOT_FOUND,
                    f"Tesseract's data for {key} in {self._data} cannot be loaded; install its packages again.",
                ) from error
        self._apis[key].SetPageSegMode(mode)
        return self._apis[key]


def _scaled(crop: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(crop.shape[1] * height / crop.shape[0]))
    return np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BICUBIC))


def _set(api: Any, image: np.ndarray, dpi: int) -> None:
    height, width = image.shape[:2]
    api.SetImageBytes(np.ascontiguousarray(image).tobytes(), width, height, 3, 3 * width)
    api.SetSourceResolution(dpi or _GUESSED_DPI)


def _lines(api: Any) -> list[RecognizedLine]:
    """Return the lines that Tesseract has recognized, with the numbers of its blocks."""
    import tesserocr

    level = tesserocr.RIL
    lines: list[RecognizedLine] = []
    words: list[RecognizedWord] = []
    block = -1
    iterator = api.GetIterator()
    while iterator is not None and not iterator.Empty(level.WORD):
        if iterator.IsAtBeginningOf(level.BLOCK):
            block += 1
        text = (iterator.GetUTF8Text(level.WORD) or "").strip()
        bounds = iterator.BoundingBox(level.WORD)
        if text and bounds:
            confidence = min(1.0, max(0.0, iterator.Confidence(level.WORD) / 100))
            words.append(RecognizedWord(box(*map(float, bounds)), text, confidence))
        if iterator.IsAtFinalElement(level.TEXTLINE, level.WORD):
            if words:
                around = iterator.BoundingBox(level.TEXTLINE)
                lines.append(_joined(words, box(*map(float, around)), block))
            words = []
        if not iterator.Next(level.WORD):
            break
    api.Clear()
    return lines


def _joined(words: Sequence[RecognizedWord], quad: Quad, block: int | None = None) -> RecognizedLine:
    characters = sum(len(word.text) for word in words)
    confidence = sum(word.confidence * len(word.text) for word in words) / characters
    return RecognizedLine(quad, " ".join(word.text for word in words), confidence, tuple(words), block)


def replace_false_latin(mixed: RecognizedLine, alone: RecognizedLine) -> RecognizedLine:
    """Return `mixed` with the words of `alone`, the line read as Hangul only, where its Latin letters are false.

    Read in two scripts at once, some Hangul words come out as a few Latin capitals, with high confidence. Read as
    Hangul, real Latin words come out as digits and signs, with low confidence: so confident Hangul replaces Latin.
    """
    words: list[RecognizedWord] = []
    for word in mixed.words:
        rivals = [other for other in alone.words if _overlap(other, word) > 0.5]
        hangul = rivals and all(
            _HANGUL.fullmatch(rival.text) and rival.confidence >= _MIN_HANGUL_CONFIDENCE for rival in rivals
        )
        words += rivals if hangul and _LATIN.search(word.text) else [word]
    return _joined(words, mixed.quad)


def _is_confident_hangul(word: RecognizedWord) -> bool:
    return bool(_HANGUL.fullmatch(word.text)) and word.confidence >= _MIN_HANGUL_CONFIDENCE


def _overlap(one: RecognizedWord, other: RecognizedWord) -> float:
    """Return the share of `one`'s width that lies over `other`, along the line."""
    (ax, ay), (bx, by) = one.quad[0], one.quad[1]
    (cx, cy), (dx, dy) = other.quad[0], other.quad[1]
    across = abs(bx - ax) >= abs(by - ay)
    a, b, c, d = (ax, bx, cx, dx) if across else (ay, by, cy, dy)
    (a, b), (c, d) = sorted((a, b)), sorted((c, d))
    return max(0.0, min(b, d) - max(a, c)) / max(1.0, b - a)


def join_pieces(pieces: Sequence[RecognizedWord], written: str) -> tuple[RecognizedWord, ...]:
    """Join Tesseract's pieces into words as `written`, the line's text, has them.

    In Hangul and Han many syllables are pieces of their own, and only the text has the spaces. The letters of a piece
    in Arabic or Hebrew are in the order of their places, from left to right, and only the text has the logical order.
    Pieces that do not add up to `written` stay as they are, but for that order.
    """
    rest = list(pieces)
    words: list[RecognizedWord] = []
    for word in _without_marks(written).split():
        group: list[RecognizedWord] = []
        while rest and len(_letters(group)) < len(word):
            group.append(rest.pop(0))
        if _letters(group) != word and _in_any_order(_letters(group)) != _in_any_order(word):
            return tuple(map(_logical, pieces))
        first, last = group[0].quad, group[-1].quad
        if last[0][0] < first[0][0]:  # read from the right
            first, last = last, first
        confidence = sum(piece.confidence * len(piece.text) for piece in group) / len(word)
        words.append(RecognizedWord((first[0], last[1], last[2], first[3]), word, confidence))
    return tuple(words) if not rest else tuple(map(_logical, pieces))


def _letters(pieces: Sequence[RecognizedWord]) -> str:
    return "".join(_without_marks(piece.text) for piece in pieces)


def _without_marks(text: str) -> str:
    """Return text without the marks of direction that Tesseract writes around digits and Latin letters."""
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf" or letter in _JOINERS)


def _in_any_order(word: str) -> list[str]:
    """Return the letters of a word sorted; of brackets either shape, since they are mirrored."""
    return sorted(word.translate(_BRACKETS))


def _logical(piece: RecognizedWord) -> RecognizedWord:
    """Return a piece whose letters are turned round if most are written from right to left."""
    to_left = sum(map(_runs_left, piece.text))
    return replace(piece, text=piece.text[::-1]) if 2 * to_left > len(piece.text) else piece


def _runs_left(letter: str) -> bool:
    return unicodedata.bidirectional(letter) in ("R", "AL")


def _onto(line: Quad, width: int, height: int, quad: Quad) -> Quad:
    """Map a box in a straightened crop of `width` by `height` back onto the page, between the line's corners."""
    a, b, c, d = line

    def at(x: float, y: float) -> tuple[float, float]:
        u, v = x / max(1, width), y / max(1, height)
        return (
            (a[0] * (1 - u) + b[0] * u) * (1 - v) + (d[0] * (1 - u) + c[0] * u) * v,
            (a[1] * (1 - u) + b[1] * u) * (1 - v) + (d[1] * (1 - u) + c[1] * u) * v,
        )

    e, f, g, h = (at(*corner) for corner in quad)
    return e, f, g, h
