"""Repetition in a decoded text: a phrase said again and again, or a decoder in a loop. Pure.

Told apart by what the length of the audio allows, not by how well the text compresses: zlib works on bytes, so a limit
that fits English condemns ordinary prose in Hindi, Thai or Georgian, whose letters take three.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

MAX_SYLLABLES_PER_SECOND = 9.0
"""Faster than anyone speaks for longer than a word; fast speech has about seven."""
MIN_REPEATS = 4
REPETITIVE_SHARE = 0.5
_MAX_UNITS = 400
_SYLLABIC = (("\uac00", "\ud7a3"), ("\u3040", "\u30ff"), ("\u4e00", "\u9fff"))
"""Scripts with a syllable to a character: Hangul, kana, Han."""
_VOWELS = frozenset("aeiouyàáâãäåæèéêëìíîïòóôõöøœùúûüýÿąęőű")


@dataclass(frozen=True)
class Run:
    """A phrase and its immediate repetitions.

    Attributes:
        phrase: what is repeated.
        count: how often it stands there in a row.
        share: of the text's words (characters, where there are no words) that are in the run.
    """

    phrase: str
    count: int
    share: float


def longest_run(text: str) -> Run | None:
    """Return the run that takes up most of a text; None if nothing is said twice in a row."""
    words = "".join(char if char.isalnum() or unicodedata.combining(char) else " " for char in text.casefold()).split()
    spaced = len(words) > 1 and max(map(len, words)) < 40
    units = (words if spaced else list("".join(words)))[:_MAX_UNITS]
    best: Run | None = None
    for period in range(1, len(units) // 2 + 1):
        same = 0
        for index in range(period, len(units) + 1):
            if index < len(units) and units[index] == units[index - period]:
                same += 1
                continue
            count = same // period + 1
            share = count * period / len(units)
            if count > 1 and (best is None or share > best.share):
                phrase = units[index - period : index] if same >= period else units[:period]
                best = Run((" " if spaced else "").join(phrase), count, share)
            same = 0
    return best


def is_repetitive(text: str) -> bool:
    """Return whether a phrase that is repeated at once takes up most of a text: worth a second look."""
    run = longest_run(text)
    return run is not None and run.count >= MIN_REPEATS and run.share >= REPETITIVE_SHARE


def is_loop(text: str, seconds: float) -> bool:
    """Return whether a repetitive text is more than can be said in `seconds`: its decoder went round in circles."""
    return is_repetitive(text) and syllables(text) > MAX_SYLLABLES_PER_SECOND * max(seconds, 0.5)


def syllables(text: str) -> float:
    """Return about how many syllables a text has, in any script."""
    total, vowel_before = 0.0, False
    for char in text.casefold():
        vowel = char in _VOWELS
        if vowel:
            total += 0 if vowel_before else 1
        elif char.isdigit() or any(first <= char <= last for first, last in _SYLLABIC):
            total += 1
        elif char.isalpha() and ord(char) > 0x24F:  # other alphabets: about every second letter is a vowel
            total += 0.5
        vowel_before = vowel
    return total
