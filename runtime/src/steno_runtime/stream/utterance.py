"""What is said between two pauses, from its first partial text to its final one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steno_runtime.stream.agreement import Agreement, tokens, written
from steno_runtime.stream.endpointing import Ended
from steno_runtime.stream.events import Final, Partial, Word
from steno_runtime.stt.chunks import FRAME, SAMPLE_RATE
from steno_runtime.stt.engine import UNSPACED, Decoded, TimedWord, invented, suspicious
from steno_runtime.stt.segments import snap


def millis(samples: int) -> int:
    """Samples as milliseconds."""
    return samples * 1000 // SAMPLE_RATE


class Utterance:
    """The text of one utterance.

    Args:
        number: counts the session's utterances.
        begin: sample where its audio begins.
        speech: and its speech.
    """

    def __init__(self, number: int, begin: int, speech: int) -> None:
        self.number = number
        self.begin = begin
        self.speech = speech
        self.drafted = speech
        """Sample up to which a draft was asked for."""
        self._agreement = Agreement()
        self._shown: tuple[str, str] = ("", "")
        self._shown_end = begin

    @property
    def stands(self) -> bool:
        """Whether some of its words stand already."""
        return bool(self._agreement.committed)

    def look(self, decoded: Decoded, end: int, language: str) -> Partial | None:
        """Takes a look at its audio up to sample `end`: what it agrees on with the look before stands from now on.

        Returns:
            What is to be shown, if that is new.
        """
        if suspicious(decoded.text, (end - self.begin) / SAMPLE_RATE, decoded.average_log_probability):
            return None
        self._agreement = self._agreement.look(tokens(decoded.text, spaced=language not in UNSPACED))
        return self.draft(decoded, end, language)

    def draft(self, decoded: Decoded, end: int, language: str) -> Partial | None:
        """Takes a draft of its audio up to sample `end`; returns what is to be shown, if that is new and plausible."""
        if end < self._shown_end or suspicious(
            decoded.text, (end - self.begin) / SAMPLE_RATE, decoded.average_log_probability
        ):
            return None
        self._shown_end = end
        return self._show(self._agreement.shown(tokens(decoded.text, spaced=language not in UNSPACED)), end)

    def vanish(self, end: int) -> Partial | None:
        """It has no final text: what was shown of it is to be taken back."""
        return self._show("", end) if self._shown[0] else None

    def final(self, decoded: Decoded | None, ended: Ended, language: str) -> tuple[Final, tuple[TimedWord, ...]] | None:
        """Settles its text.

        Args:
            decoded: the last look; None when there was nothing to look at.
            ended: where it ended.
            language: what was spoken.

        Returns:
            The final (its `seq` is 0) and its words, in seconds from the session's first sample; None when nothing
            was said.
        """
        begin, end = ended.begin * FRAME, ended.end * FRAME
        spaced = language not in UNSPACED
        words: Sequence[TimedWord] = ()
        if decoded is not None and not invented(
            decoded, (end - begin) / SAMPLE_RATE, ended.speech_frames * FRAME / SAMPLE_RATE
        ):
            words = _placed(decoded, begin / SAMPLE_RATE, end / SAMPLE_RATE, spaced=spaced)
            words = snap(words, [(self.speech / SAMPLE_RATE, max(self.speech, ended.speech_end * FRAME) / SAMPLE_RATE)])
        settled = self._agreement.settled(words, spaced=spaced, start=begin / SAMPLE_RATE, end=end / SAMPLE_RATE)
        if not settled:
            return None
        final = Final(
            seq=0,
            utterance=self.number,
            text=written(settled),
            words=tuple(
                Word(word.text, round(word.start * 1000), round(word.end * 1000), round(word.probability, 4))
                for word in settled
            ),
            start_ms=round(settled[0].start * 1000),
            end_ms=round(settled[-1].end * 1000),
            confidence=round(sum(word.probability for word in settled) / len(settled), 4),
            language=language,
            speech_final=not ended.cut,
        )
        return final, settled

    def _show(self, text: str, end: int) -> Partial | None:
        stable = self._agreement.stable_text if text else ""
        if (text, stable) == self._shown:
            return None
        self._shown = (text, stable)
        return Partial(0, self.number, text, stable, millis(self.begin), millis(end))


def _placed(decoded: Decoded, begin: float, end: float, *, spaced: bool) -> list[TimedWord]:
    """Words on the session's clock; a text whose words could not be timed is spread over the window."""
    words: Sequence[TimedWord] = decoded.words
    if not words:
        parts = tokens(decoded.text, spaced=spaced)
        step = (end - begin) / max(1, len(parts))
        words = [
            TimedWord(part.text, index * step, (index + 1) * step, 0.5, part.spaced) for index, part in enumerate(parts)
        ]
    return [replace(word, start=min(end, begin + word.start), end=min(end, begin + word.end)) for word in words]
