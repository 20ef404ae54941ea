"""Text normalisation before scoring, as Whisper's normalisers do: what transcribers write differently is folded.

Unlike Whisper's, it keeps combining marks, which are the vowels of Hindi, Thai and Tamil. Speech is compared without
capitals and punctuation; pages are compared as they are printed, but for white space and the shape of quotes and
dashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencc import OpenCC


class Unit(StrEnum):
    """What errors are counted in."""

    WORD = "word"
    CHARACTER = "character"


BY_CHARACTER = frozenset({"zh", "cmn", "yue", "nan", "wuu", "ja", "ko", "th", "lo", "km", "my", "bo", "dz"})
"""Languages whose errors are counted in characters, without spaces: they have none, or (ko) their place is style."""
CHINESE = frozenset({"zh", "cmn", "yue", "nan", "wuu"})

_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"
)
"""Letters of Thai, Lao, Tibetan, Burmese, Hangul, Khmer, Kana and Han."""
_OPTIONAL_MARKS = re.compile("[\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]")
"""Hebrew points, Arabic vowels and the kashida: most writers leave them out."""
_APOSTROPHES = re.compile("['\u2019\u2018\u02bc\u02bb`\u00b4\uff07]")
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)


def primary_language(tag: str) -> str:
    """Return the language of a BCP 47 tag, without script and region: `zh` of `zh-Hant-TW`."""
    return re.split("[-_]", tag.strip().lower(), maxsplit=1)[0]


def error_unit(languages: Sequence[str], text: str = "") -> Unit:
    """Return what errors are counted in.

    Args:
        languages: BCP 47 tags, of which the first decides.
        text: decides by the script of most of its letters where no language is known.
    """
    if languages:
        by_character = primary_language(languages[0]) in BY_CHARACTER
    else:
        letters = sum(character.isalpha() for character in text)
        by_character = 2 * len(_UNSPACED.findall(text)) > letters
    return Unit.CHARACTER if by_character else Unit.WORD


def normalise_speech(text: str, languages: Sequence[str] = ()) -> str:
    """Return what was said, however it was written: no capitals, punctuation or symbols, one space between words.

    Compatibility forms are folded (NFKC), apostrophes vanish (`don't`, `dont`), other punctuation separates words, and
    Hebrew and Arabic vowel points are dropped. Chinese is folded to simplified characters. Numbers stay as they are
    written.

    Args:
        text: of a transcript or its reference.
        languages: BCP 47 tags, of which the first decides whether the text is Chinese.
    """
    folded = unicodedata.normalize("NFKC", _APOSTROPHES.sub("", text)).casefold()
    # casefold() makes i and a dot of the Turkish capital, which lower-case writers never write.
    folded = unicodedata.normalize("NFKC", folded).replace("i\u0307", "i")
    folded = _separate(_OPTIONAL_MARKS.sub("", folded))
    if languages and primary_language(languages[0]) in CHINESE:
        folded = _simplifier().convert(folded)
    return folded


def normalise_page(text: str) -> str:
    """Return a page's text as it is printed: case and punctuation count, white space and the shape of quotes do not."""
    folded = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_QUOTES)
    kept = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", kept).split())


def page_words(text: str) -> str:
    """Return the words of a page, with their case, separated by one space."""
    return _separate(_APOSTROPHES.sub("", normalise_page(text)))


def without_spaces(text: str) -> str:
    """Return text without white space."""
    return "".join(text.split())


def _separate(text: str) -> str:
    """Replace punctuation, symbols and controls by one space; invisible format characters vanish."""
    parts: list[str] = []
    for character in text:
        category = unicodedata.category(character)
        is_stray_mark = category[0] == "M" and (not parts or parts[-1] == " ")  # of an emoji, for example
        if category != "Cf" and not is_stray_mark:
            parts.append(" " if category[0] in "PSZC" else character)
    return " ".join(unicodedata.normalize("NFKC", "".join(parts)).split())


@cache
def _simplifier() -> OpenCC:
    from opencc import OpenCC  # noqa: PLC0415 - only for Chinese

    return OpenCC("t2s")
