# ruff: noqa: RUF001 - full-width punctuation is meant
"""Line breaking after UAX #14 and JIS X 4051 (kinsoku), as far as subtitles need it, and spaces between sentences.

Chinese and Japanese put no space between words or sentences, and break a line nearly anywhere; every other script
here is broken at its spaces, and between letters only where it has none (Thai, Lao, Burmese, Khmer). Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

PAUSES = (
    ".",
    "!",
    "?",
    ",",
    ";",
    ":",
    "。",
    "、",
    "，",
    "．",
    "！",
    "？",
    "；",
    "：",
    "…",
    "؟",
    "،",
    "؛",
    "।",
    "။",
    "።",
)
"""Punctuation after which a line or a cue ends well."""
CLOSING = "\"'”’)]»›」』）］｝〉》】〕〙〗〟"
_NOT_FIRST = frozenset(
    "、。，．・：；？！‼⁇⁈⁉ゝゞヽヾ々〻ー゛゜…‥―～〜％℃"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
    ".,;:!?%°"
)
"""What begins no line, besides closing brackets: stops, iteration marks, small kana, the mark of a long vowel."""
_NOT_LAST = frozenset("「『（［｛〈《【〔〘〖〝“‘([{«¿¡＄￥£$€#＃№")
"""What ends no line: opening brackets, and signs that belong to what follows."""
_INSEPARABLE = frozenset("…‥―—")
"""Marks that are written twice, and stay together."""
_THAI_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")
_UNSPACED_NAMES = ("THAI", "LAO", "MYANMAR", "KHMER")


def joined(texts: Iterable[str]) -> str:
    """Join sentences to a text: with a space, but without one between two that are Chinese or Japanese."""
    whole = ""
    for text in texts:
        whole += text if not whole or not text or not _spaced(whole, text) else f" {text}"
    return whole


def can_break(before: str, after: str) -> bool:
    """Return whether a line may end between two parts of a text.

    Args:
        before: what precedes; not empty.
        after: what follows; not empty.
    """
    spaced = before[-1].isspace() or after[0].isspace()
    last, first = before.rstrip()[-1:], after.lstrip()[:1]
    if not last or not first or (last.isascii() and first.isascii()):
        return spaced
    if unicodedata.category(first) in ("Mn", "Mc", "Me", "Cf") or last == "\u200d":
        return False  # inside a character
    if _is_wide(last) or _is_wide(first):
        return not (
            first in _NOT_FIRST
            or first in CLOSING
            or last in _NOT_LAST
            or (last in _INSEPARABLE and first == last)
            or last in _THAI_LEADING_VOWELS
        )
    if spaced:
        return True
    if last in _THAI_LEADING_VOWELS:
        return False
    return any(_is_letter_of(char, _UNSPACED_NAMES) for char in (last, first))


def break_penalty(before: str, after: str) -> int:
    """Return how bad a place between two parts of a text is to break it, where it may be broken.

    Args:
        before: what precedes; not empty.
        after: what follows; not empty.

    Returns:
        0 after punctuation; 1 at a space, and where a Japanese phrase (bunsetsu) probably ends: it mostly begins with
        kanji or katakana and ends with hiragana; 2 between other kinds of letters; 3 between letters of one kind.
    """
    if ends_clause(before):
        return 0
    last, first = before[-1], after[0]
    if last.isspace() or first.isspace() or (_is_hiragana(last) and not _is_hiragana(first)):
        return 1
    return 3 if _kind(last) == _kind(first) else 2


def ends_clause(text: str) -> bool:
    """Return whether a text ends with a stop or a comma, whatever brackets close after it."""
    return text.rstrip().rstrip(CLOSING).endswith(PAUSES)


def _spaced(before: str, after: str) -> bool:
    """Return whether a space belongs between two sentences: unless the letters beside it are Chinese or Japanese."""
    left = next((char for char in reversed(before) if unicodedata.category(char)[0] == "L"), None)
    right = next((char for char in after if unicodedata.category(char)[0] == "L"), None)
    if left is None and right is None:
        return not (_is_wide(before[-1]) or _is_wide(after[0]))
    return not all(char is None or _is_chinese_or_japanese(char) for char in (left, right))


def _is_chinese_or_japanese(char: str) -> bool:
    return _is_letter_of(char, ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "KANGXI")) or char in "々〆ー"


@lru_cache(4096)
def _is_wide(char: str) -> bool:
    """Return whether a character is one of Chinese or Japanese text, punctuation included; Hangul is not."""
    return unicodedata.east_asian_width(char) in "WF" and not _is_letter_of(char, ("HANGUL",))


def _is_hiragana(char: str) -> bool:
    return "\u3041" <= char <= "\u309f"


@lru_cache(4096)
def _kind(char: str) -> str:
    """Return the first word of a character's name, which is its script; a mark of length belongs to katakana."""
    return "KATAKANA" if char == "ー" else unicodedata.name(char, "").split(" ")[0]


@lru_cache(4096)
def _is_letter_of(char: str, names: tuple[str, ...]) -> bool:
    return unicodedata.name(char, "").removeprefix("HALFWIDTH ").startswith(names)
