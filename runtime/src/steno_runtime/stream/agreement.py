"""LocalAgreement-2 (Macháček et al., 2023): the words on which two checks of an unfinished utterance agree are stable.

Words are compared, or characters where words are not separated by spaces; without case and punctuation, which change
until a sentence is over. What is committed is literal. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


def matched_prefix(committed: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return how many words of a hypothesis correspond to what is committed.

    The number after which the rest is nearest (by edit distance) to being only new words.

    Args:
        committed: normalized words that are stable.
        hypothesis: normalized words of a text of the same audio, or more of it.
    """
    count = len(committed)
    if list(hypothesis[:count]) == list(committed):
        return count
    distances = list(range(len(hypothesis) + 1))
    for i, word in enumerate(committed, start=1):
        above, distances = distances, [i]
        for j, other in enumerate(hypothesis, start=1):
            distances.append(min(above[j] + 1, distances[j - 1] + 1, above[j - 1] + (word != other)))
    # Of the equally near, one that ends with the last committed word; then the one of similar length: a word that was
    # recognized differently is likelier than a word too many or too few.
    return min(
        range(len(distances)),
        key=lambda j: (distances[j], not (j and committed[-1] == hypothesis[j - 1]), abs(j - count), -j),
    )


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
        """Return what a hypothesis says beyond what is committed."""
        words = [normalize(token.text) for token in hypothesis]
        return tuple(hypothesis[matched_prefix([normalize(token.text) for token in self.committed], words) :])

    def update(self, hypothesis: Sequence[Token]) -> Agreement:
        """Return the agreement after one more check: what it and the previous one agree on becomes stable.

        The new hypothesis's last word does not: its audio may end in the middle of it.
        """
        rest = self.after_committed(hypothesis)
        agreed = 0
        for new, old in zip(rest[:-1], self.unconfirmed or (), strict=False):
            if normalize(new.text) != normalize(old.text):
                break
            agreed += 1
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
        matched = matched_prefix(
            [normalize(one.text) for one in self.committed], [normalize(one.text) for one in parts]
        )
        if matched == count:  # word for word
            committed = [
                replace(part, text=one.text, spaced=one.spaced)
                for one, part in zip(self.committed, parts[:matched], strict=True)
            ]
        else:
            begin = parts[0].start if matched else start
            until = parts[matched - 1].end if matched else (parts[0].start if parts else end)
            step = max(0.0, until - begin) / count
            probability = sum(part.probability for part in parts[:matched]) / matched if matched else 0.5
            committed = [
                TimedWord(one.text, begin + index * step, begin + (index + 1) * step, probability, one.spaced)
                for index, one in enumerate(self.committed)
            ]
        return (*committed, *parts[matched:])


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
