"""Which of an unfinished utterance's words stand: those that two looks at it agree on. Pure.

LocalAgreement-2 (Macháček et al., 2023) over words; over characters where words are not told apart by spaces. Words
are compared without case and punctuation, which change until a sentence is over; what is committed is literal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steno_runtime.stt.engine import TimedWord


@dataclass(frozen=True)
class Token:
    """What is compared: a word, or a character."""

    text: str
    spaced: bool
    """Whether a space comes before it."""


def tokens(text: str, *, spaced: bool) -> tuple[Token, ...]:
    """Takes a text apart.

    Args:
        text: what was decoded.
        spaced: whether the language puts spaces between words; if not, every character is a token.
    """
    words = text.split()
    if spaced:
        return tuple(Token(word, spaced=True) for word in words)
    return tuple(Token(char, spaced=index == 0) for word in words for index, char in enumerate(word))


def written(parts: Sequence[Token | TimedWord]) -> str:
    """Puts a text together again."""
    text = "".join(f" {part.text}" if part.spaced else part.text for part in parts)
    return text.removeprefix(" ")


def bare(text: str) -> str:
    """A word as it is compared: composed, without case and punctuation, unless it is nothing else."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return "".join(char for char in folded if unicodedata.category(char)[0] in "LMN") or folded


def covered(committed: Sequence[str], hypothesis: Sequence[str]) -> int:
    """How many of a hypothesis's words say what is committed already.

    That many that the rest is nearest (by edit distance) to being only new words.

    Args:
        committed: compared words that stand.
        hypothesis: compared words of a text of the same audio, or more of it.
    """
    count = len(committed)
    if list(hypothesis[:count]) == list(committed):
        return count
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(committed, start=1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    # Of the equally near, one that ends as what stands does; then the one of like length: a word heard otherwise is
    # likelier than a word too many or too few.
    return min(
        range(len(row)),
        key=lambda j: (row[j], not (j and committed[-1] == hypothesis[j - 1]), abs(j - count), -j),
    )


@dataclass(frozen=True)
class Agreement:
    """What stands of an utterance, and what its last look said beyond that."""

    committed: tuple[Token, ...] = ()
    beyond: tuple[Token, ...] | None = None
    """None: not looked at yet."""

    @property
    def stable_text(self) -> str:
        """What stands."""
        return written(self.committed)

    def rest(self, hypothesis: Sequence[Token]) -> tuple[Token, ...]:
        """What a hypothesis says beyond what stands."""
        compared = [bare(token.text) for token in hypothesis]
        return tuple(hypothesis[covered([bare(token.text) for token in self.committed], compared) :])

    def look(self, hypothesis: Sequence[Token]) -> Agreement:
        """Takes one more look into account: what it and the look before agree on stands from now on.

        The newer look's last word does not: its audio may end in the middle of it.
        """
        rest = self.rest(hypothesis)
        agreed = 0
        for new, old in zip(rest[:-1], self.beyond or (), strict=False):
            if bare(new.text) != bare(old.text):
                break
            agreed += 1
        return Agreement(self.committed + rest[:agreed], rest[agreed:])

    def shown(self, hypothesis: Sequence[Token]) -> str:
        """A hypothesis as it may be shown: what stands, and what it says beyond."""
        return written(self.committed + self.rest(hypothesis))

    def settled(self, words: Sequence[TimedWord], *, spaced: bool, start: float, end: float) -> tuple[TimedWord, ...]:
        """The utterance's last look, beginning with what stands.

        Args:
            words: what it says.
            spaced: as in `tokens`.
            start: seconds, where the utterance begins.
            end: and ends.

        Returns:
            `words` where they begin with what stands to the letter; else what stands, at the times of the words that
            it replaces, and then the rest.
        """
        parts = list(words) if spaced else [part for word in words for part in _characters(word)]
        count = len(self.committed)
        if [(part.text, part.spaced) for part in parts[:count]] == [(one.text, one.spaced) for one in self.committed]:
            return tuple(words)
        known = covered([bare(one.text) for one in self.committed], [bare(part.text) for part in parts])
        if known == count:  # word for word
            stand = [
                replace(part, text=one.text, spaced=one.spaced)
                for one, part in zip(self.committed, parts[:known], strict=True)
            ]
        else:
            begin = parts[0].start if known else start
            until = parts[known - 1].end if known else (parts[0].start if parts else end)
            step = max(0.0, until - begin) / count
            sure = sum(part.probability for part in parts[:known]) / known if known else 0.5
            stand = [
                TimedWord(one.text, begin + index * step, begin + (index + 1) * step, sure, one.spaced)
                for index, one in enumerate(self.committed)
            ]
        return (*stand, *parts[known:])


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
