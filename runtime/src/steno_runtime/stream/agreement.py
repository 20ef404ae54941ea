"""LocalAgreement-2 (Macháček et al., 2023): the words on which two checks of an unfinished utterance agree are stable.

Texts are compared by their characters, without case and punctuation, which change until a sentence is over, and without
spaces, which change too: above all in Korean, and in numbers. What is committed is literal. Pure.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from steno_runtime.stt.engine import TimedWord


@dataclass(frozen=True)
class Token:
    """The unit of comparison: a word, or a character."""

    text: str
    spaced: bool
    """Whether a space precedes it."""


def tokenize(text: str, *, spaced: bool) -> tuple[Token, ...]:
    """Split a text into tokens.

    Args:
        text: as decoded.
        spaced: whether the language puts spaces between words; if not, every character is a token.
    """
    words = text.split()
    if spaced:
        return tuple(Token(word, spaced=True) for word in words)
    return tuple(Token(char, spaced=index == 0) for word in words for index, char in enumerate(word))


def join_tokens(parts: Sequence[Token | TimedWord]) -> str:
    """Join tokens or words to a text, with the spaces that they had."""
    text = "".join(f" {part.text}" if part.spaced else part.text for part in parts)
    return text.removeprefix(" ")


def normalize(text: str) -> str:
    """Return a word as it is compared: composed (NFC), without case and punctuation, unless it is nothing else."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return "".join(char for char in folded if unicodedata.category(char)[0] in "LMN") or folded


def matched_prefix(committed: Sequence[str], unconfirmed: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return how many characters of a hypothesis correspond to what is committed; the rest is new.

    Args:
        committed: normalized words that are stable.
        unconfirmed: normalized words that the last check said beyond that: where they are found again, the new begins.
        hypothesis: normalized words of a text of the same audio, or more of it.
    """
    stable, text = "".join(committed), "".join(hypothesis)
    if text.startswith(stable):
        return len(stable)
    counterparts = align(stable + "".join(unconfirmed), text)
    last = max((at for at in range(len(stable)) if counterparts[at] is not None), default=-1)
    after = 0 if last < 0 else (counterparts[last] or 0) + 1
    missing = sum(char.isalnum() for char in stable[last + 1 :])
    if not missing:
        return after
    following = next((at for at in counterparts[len(stable) :] if at is not None), None)
    ends = list(accumulate(len(word) for word in hypothesis))
    if last >= len(stable) - len(committed[-1]):  # the last word was only written differently: it ends where that ends
        cut = next(end for end in ends if end >= after)
    elif following is not None and counterparts[len(stable)] == following:  # what is between replaces it
        return following
    else:  # other words were recognized: as long as they were
        cut = min((0, *ends), key=lambda end: (end < after, abs(end - after - missing)))
    return cut if following is None else min(cut, following)


def align(text: str, other: str) -> list[int | None]:
    """Align two texts (Needleman-Wunsch with a free end: `other` may go on).

    Returns:
        For each character of `text`, where the same one is in `other`; None where it was replaced or left out.
    """
    import numpy as np

    begin = next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    rows, columns = text[begin:], other[begin:]
    across = np.arange(len(columns) + 1)
    codes = np.array([ord(char) for char in columns], dtype=np.int32)
    scores = np.empty((len(rows) + 1, len(columns) + 1), dtype=np.int32)
    scores[0] = -across
    for row, char in enumerate(rows, 1):
        best = scores[row - 1] - 1
        best[1:] = np.maximum(best[1:], scores[row - 1, :-1] + np.where(codes == ord(char), 2, -1))
        scores[row] = np.maximum.accumulate(best + across) - across  # each step to the right costs 1
    counterparts: list[int | None] = [*range(begin), *[None] * len(rows)]
    row, column = len(rows), int(np.argmax(scores[-1]))
    while row and column:
        score, same = scores[row, column], rows[row - 1] == columns[column - 1]
        if score == scores[row - 1, column - 1] + (2 if same else -1):
            row, column = row - 1, column - 1
            if same:
                counterparts[begin + row] = begin + column
        elif score == scores[row - 1, column] - 1:
            row -= 1
        else:
            column -= 1
    return counterparts


@dataclass(frozen=True)
class Agreement:
    """What is stable of an utterance, and what its last check said beyond that."""

    committed: tuple[Token, ...] = ()
    unconfirmed: tuple[Token, ...] | None = None
    """None: not checked yet."""

    @property
    def stable_text(self) -> str:
        """The committed text."""
        return join_tokens(self.committed)

    def after_committed(self, hypothesis: Sequence[Token]) -> tuple[Token, ...]:
        """Return what a hypothesis says beyond what is committed; it may begin within a word."""
        words = [normalize(token.text) for token in hypothesis]
        index, within = _word_at(words, self._matched(words))
        if not within:
            return tuple(hypothesis[index:])
        split = _raw_length(hypothesis[index].text, within)
        return (Token(hypothesis[index].text[split:], spaced=False), *hypothesis[index + 1 :])

    def update(self, hypothesis: Sequence[Token]) -> Agreement:
        """Return the agreement after one more check: what it and the previous one agree on becomes stable.

        The new hypothesis's last word does not: its audio may end in the middle of it.
        """
        rest = self.after_committed(hypothesis)
        old, new = _word_ends(self.unconfirmed or ()), _word_ends(rest[:-1])
        agreed = 0
        for count, text in enumerate(new, 1):
            # The same characters, and a word ends in both: what is within a word may still be part of another one.
            if text in old:
                agreed = count
        return Agreement(self.committed + rest[:agreed], rest[agreed:])

    def display_text(self, hypothesis: Sequence[Token]) -> str:
        """Return a hypothesis as clients see it: the committed text, and what it says beyond."""
        return join_tokens(self.committed + self.after_committed(hypothesis))

    def finalize(self, words: Sequence[TimedWord], *, spaced: bool, start: float, end: float) -> tuple[TimedWord, ...]:
        """Return the words of the utterance's final, which begin with what is committed.

        Args:
            words: of the final decode, in seconds.
            spaced: as in `tokenize`.
            start: where the utterance begins, in seconds.
            end: where it ends, in seconds.

        Returns:
            `words` if they begin with the committed text to the letter; else the committed words, at the times of the
            words that they replace, followed by the rest.
        """
        parts = list(words) if spaced else [part for word in words for part in _characters(word)]
        count = len(self.committed)
        if [(part.text, part.spaced) for part in parts[:count]] == [(one.text, one.spaced) for one in self.committed]:
            return tuple(words)
        names = [normalize(part.text) for part in parts]
        index, within = _word_at(names, self._matched(names))
        rest = parts[index:]
        if within:  # the committed text ends in the middle of a word
            replaced, rest[0] = _split(parts[index], _raw_length(parts[index].text, within))
            parts = [*parts[:index], replaced]
        else:
            parts = parts[:index]
        if len(parts) == count:  # word for word
            committed = [
                replace(part, text=one.text, spaced=one.spaced) for one, part in zip(self.committed, parts, strict=True)
            ]
        else:
            committed = _placed(self.committed, parts, start, rest[0].start if rest else end)
        if within and spaced:  # a word's parts are one word
            committed[-1] = replace(committed[-1], text=committed[-1].text + rest[0].text, end=rest[0].end)
            del rest[0]
        return (*committed, *rest)

    def _matched(self, words: Sequence[str]) -> int:
        committed = [normalize(token.text) for token in self.committed]
        return matched_prefix(committed, [normalize(token.text) for token in self.unconfirmed or ()], words)


def _word_ends(tokens: Sequence[Token]) -> list[str]:
    """Return the normalized text without spaces up to the end of each token."""
    return list(accumulate(normalize(token.text) for token in tokens))


def _word_at(words: Sequence[str], position: int) -> tuple[int, int]:
    """Return which word a position in characters is in, and how far in."""
    for index, word in enumerate(words):
        if position < len(word):
            return index, position
        position -= len(word)
    return len(words), 0


def _raw_length(text: str, length: int) -> int:
    """Return how much of a word as written its first `length` normalized characters are."""
    for at in range(1, len(text)):
        if not unicodedata.combining(text[at]) and len(normalize(text[:at])) >= length:
            return at
    return len(text)


def _placed(committed: Sequence[Token], parts: Sequence[TimedWord], start: float, following: float) -> list[TimedWord]:
    """Return committed words at the times of other words that they replace, each in proportion to its length.

    Args:
        committed: the words.
        parts: those that they replace.
        start: where they begin if they replace none, in seconds.
        following: where they end in that case.
    """
    edges = [0, *accumulate(len(part.text) for part in parts)]
    times = [parts[0].start if parts else min(start, following), *(part.end for part in parts)]
    if not parts:
        edges, times = [0, 1], [times[0], following]
    lengths = [0, *accumulate(len(one.text) for one in committed)]
    probability = sum(part.probability for part in parts) / len(parts) if parts else 0.5

    def time_at(length: int) -> float:
        position = length / lengths[-1] * edges[-1]
        index = min(bisect.bisect_right(edges, position), len(edges) - 1)
        share = (position - edges[index - 1]) / max(1, edges[index] - edges[index - 1])
        return times[index - 1] + share * (times[index] - times[index - 1])

    return [
        TimedWord(one.text, time_at(begin), time_at(stop), probability, one.spaced)
        for one, (begin, stop) in zip(committed, pairwise(lengths), strict=True)
    ]


def _characters(word: TimedWord) -> list[TimedWord]:
    step = (word.end - word.start) / max(1, len(word.text))
    return [
        TimedWord(
            char,
            word.start + index * step,
            word.start + (index + 1) * step,
            word.probability,
            word.spaced and index == 0,
        )
        for index, char in enumerate(word.text)
    ]


def _split(word: TimedWord, at: int) -> tuple[TimedWord, TimedWord]:
    """Return the parts of a word before and after its character `at`."""
    middle = word.start + (word.end - word.start) * at / len(word.text)
    return replace(word, text=word.text[:at], end=middle), replace(
        word, text=word.text[at:], start=middle, spaced=False
    )
