"""Text layer of a PDF's page, through PDFium: its characters as lines of words, and whether they are text at all.

PDFium's own quirks end here: it marks a hyphen at a line's end by U+0002 and lets the next line follow at once, gives
text that the crop box hides, and passes on the codes of fonts that say nothing of Unicode. It turns lines of Arabic and
Hebrew round letter by letter, those of one glyph (lam-alef) as well, and breaks words at vowel signs.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.engines.columns import is_written_in_columns
from steno_runtime.ocr.geometry import bounds, box, turned_left, turned_right

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the rendered page."""

_MAX_ODD = 0.05
"""Share of characters without a meaning up to which a text layer is text; a few are bullets and symbols."""
_SIGNS = frozenset('!"#$%&()*+<=>?[]\\^{|}~')
"""Signs that stand at the edges of words, if anywhere; in code listings they do not, but those have letters."""
_MAX_SIGNS = 0.2
_MIN_LETTERS = 0.3
_WITHOUT_SHAPE = "\u00ad\u200b\ufeff"
"""Soft hyphens within a line, zero-width spaces and byte order marks."""
_VOWEL_SIGNS = re.compile("[\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed]")
"""Marks of Hebrew and Arabic, which stand above or below a letter."""
_FROM_THE_RIGHT = ("R", "AL")
_INVISIBLE = pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE


@dataclass(frozen=True)
class TextLayer:
    """The text that a page carries itself.

    Attributes:
        lines: in the PDF's own order, in pixels of the rendered page.
        characters: how many were seen, without spaces.
        unmapped: how many of them have no Unicode value: their font says only which shapes to draw.
        invisible: how many of them are not drawn: the layer of an earlier OCR.
    """

    lines: tuple[RecognizedLine, ...] = ()
    characters: int = 0
    unmapped: int = 0
    invisible: int = 0

    @property
    def readable(self) -> bool:
        """Whether it is text, and not the codes of a font without a Unicode map."""
        return self.unmapped <= _MAX_ODD * self.characters and is_readable(self.lines)

    @property
    def area(self) -> float:
        """Pixels² that its words cover."""
        boxes = [bounds([word.quad]) for line in self.lines for word in line.words]
        return sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)


def read_text_layer(page: pdfium.PdfPage, width: int, height: int) -> TextLayer:
    """Return the text of a page within its crop box.

    Args:
        page: which one.
        width: of its rendering, in pixels.
        height: of its rendering, in pixels.
    """
    text_page = page.get_textpage()
    try:
        lines = _Lines()
        characters = unmapped = invisible = 0
        for index in range(text_page.count_chars()):
            code = pdfium_c.FPDFText_GetUnicode(text_page, index)
            letter = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
            if letter in ("\r", "\n"):
                lines.end_line()
                continue
            at = _char_box(page, text_page, index, width, height)
            if not letter.strip():
                lines.add_space(at)
                continue
            if not (0 <= (at[0] + at[2]) / 2 <= width and 0 <= (at[1] + at[3]) / 2 <= height):
                lines.end_word()
                continue
            characters += 1
            if pdfium_c.FPDFText_IsHyphen(text_page, index) == 1:
                lines.add("-", clipped(at, width, height))
                lines.end_line()
                continue
            drawn = pdfium_c.FPDFText_GetTextObject(text_page, index)
            invisible += bool(drawn) and pdfium_c.FPDFTextObj_GetTextRenderMode(drawn) == _INVISIBLE
            unmapped += _is_odd(letter) or pdfium_c.FPDFText_HasUnicodeMapError(text_page, index) == 1
            if unicodedata.category(letter) != "Cc" and letter not in _WITHOUT_SHAPE:
                lines.add(letter, clipped(at, width, height))
        lines.end_line()
        return TextLayer(tuple(lines.finished), characters, unmapped, invisible)
    finally:
        text_page.close()


def is_readable(lines: Sequence[RecognizedLine]) -> bool:
    """Return whether the text is text, and not the codes of a font that has no Unicode map.

    Such codes come out as control, private or replacement characters; or, where the font is taken for one in ASCII, as
    words with signs within them and hardly a letter (`$*)!*%/&`).
    """
    text = "".join(line.text for line in lines)
    if sum(map(_is_odd, text)) > _MAX_ODD * len(text):
        return False
    words = [word for line in lines for word in line.text.split()]
    characters = sum(map(len, words))
    signs = sum(letter in _SIGNS for word in words for letter in word[1:-1])
    letters = sum(letter.isalpha() and not letter.isupper() for word in words for letter in word)
    return signs <= _MAX_SIGNS * characters or letters >= _MIN_LETTERS * characters


def _is_odd(letter: str) -> bool:
    code = ord(letter)
    return letter == "\ufffd" or code < 0x20 or 0xE000 <= code <= 0xF8FF or code >= 0xF0000 or code & 0xFFFE == 0xFFFE


class _Lines:
    """Lines that are built character by character."""

    def __init__(self) -> None:
        self.finished: list[RecognizedLine] = []
        self._words: list[RecognizedWord] = []
        self._letters: list[str] = []
        self._boxes: list[Box] = []
        self._first: Box | None = None
        self._last: Box | None = None
        self._glyph = 0
        """Where the last glyph's letters begin in `_letters`."""
        self._sign: tuple[str, Box] | None = None
        """A vowel sign that was seen before its letter."""
        self._made_space = False
        """Whether a space without a width was seen last: PDFium made it, for a gap or for a vowel sign."""

    def add(self, letter: str, at: Box) -> None:
        is_sign = _VOWEL_SIGNS.match(letter) is not None
        if self._made_space and not is_sign:
            self.end_word()
        self._made_space = False
        if is_sign and not (self._last and self._letters and _is_over(at, self._last)):
            self._end_sign()
            self._sign = letter, at
            return
        sign, self._sign = self._sign, None
        if sign and not _is_over(sign[1], at):
            self._append(*sign)
            sign = None
        self._append(letter, at)
        if sign:
            self._append(*sign)

    def _append(self, letter: str, at: Box) -> None:
        of_one_glyph = bool(self._letters) and at == self._last and unicodedata.bidirectional(letter) in _FROM_THE_RIGHT
        if not of_one_glyph:
            self._glyph = len(self._letters)
        self._letters.insert(self._glyph, letter)
        self._boxes.append(at)
        self._first, self._last = self._first or at, at

    def _end_sign(self) -> None:
        sign, self._sign = self._sign, None
        if sign:
            self._append(*sign)

    def add_space(self, at: Box) -> None:
        if at[2] > at[0]:
            self.end_word()
        else:
            self._made_space = True

    def end_word(self) -> None:
        self._made_space = False
        self._end_sign()
        if self._letters:
            around = box(*bounds([box(*at) for at in self._boxes]))
            self._words.append(RecognizedWord(around, "".join(self._letters), 1.0))
        self._letters.clear()
        self._boxes.clear()

    def end_line(self) -> None:
        self.end_word()
        if self._words:
            self.finished.append(_line(self._words, self._first, self._last))
        self._words.clear()
        self._first = None


def _line(words: list[RecognizedWord], first: Box | None, last: Box | None) -> RecognizedLine:
    """Return a line of `words`, whose direction the places of its first and last letters tell."""
    around = box(*bounds([word.quad for word in words]))
    text = " ".join(word.text for word in words)
    across = down = 0.0
    if first and last:
        across = abs(last[0] + last[2] - first[0] - first[2])
        down = last[1] + last[3] - first[1] - first[3]
    if abs(down) <= 2 * across:
        return RecognizedLine(around, text, 1.0, tuple(words))
    if down > 0 and is_written_in_columns(text):
        return RecognizedLine(around, text, 1.0, tuple(words), vertical=True)
    turn = turned_left if down > 0 else turned_right
    turned = tuple(replace(word, quad=turn(word.quad)) for word in words)
    return RecognizedLine(turn(around), text, 1.0, turned)


def _is_over(sign: Box, letter: Box) -> bool:
    return letter[0] <= (sign[0] + sign[2]) / 2 <= letter[2]


def _char_box(page: pdfium.PdfPage, text_page: pdfium.PdfTextPage, index: int, width: int, height: int) -> Box:
    left, bottom, right, top = text_page.get_charbox(index, loose=True)
    return device_box(page, (left, bottom, right, top), width, height)


def device_box(page: pdfium.PdfPage, rectangle: Box, width: int, height: int) -> Box:
    """Return where a rectangle of a page is shown.

    Args:
        page: which one.
        rectangle: left, bottom, right and top in the page's own coordinates.
        width: of the page's rendering, in pixels.
        height: of the page's rendering, in pixels.
    """
    left, bottom, right, top = rectangle
    x, y = ctypes.c_int(), ctypes.c_int()
    corners: list[tuple[int, int]] = []
    for across, up in ((left, top), (right, bottom)):
        pdfium_c.FPDF_PageToDevice(page, 0, 0, width, height, 0, across, up, x, y)
        corners.append((x.value, y.value))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def clipped(at: Box, width: int, height: int) -> Box:
    """Return the part of a box that is on the page.

    Args:
        at: the box.
        width: of the page's rendering, in pixels.
        height: of the page's rendering, in pixels.
    """
    left, top, right, bottom = at
    return max(0, left), max(0, top), min(width, right), min(height, bottom)
