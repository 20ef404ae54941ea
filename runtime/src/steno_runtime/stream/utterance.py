"""An utterance: the speech between two pauses, from its first partial text to its final one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stream.agreement import Agreement, join_tokens, tokenize
from steno_runtime.stream.endpointing import UtteranceEnded
from steno_runtime.stream.events import Final, FinalWord, Partial
from steno_runtime.stt.chunks import VAD_FRAME
from steno_runtime.stt.engine import UNSPACED, Decoded, TimedWord, hallucinated, needs_fallback
from steno_runtime.stt.segments import clamp_to_speech, in_order


def millis(samples: int) -> int:
    """Return a number of samples as milliseconds."""
    return samples * 1000 // SAMPLE_RATE


class Utterance:
    """The text of one utterance.

    Args:
        number: counts the session's utterances from 0.
        begin: sample where its audio begins.
        speech: sample where its speech begins.
    """

    def __init__(self, number: int, begin: int, speech: int) -> None:
        self.number = number
        self.begin = begin
        self.speech = speech
        self.draft_end = speech
        """Sample up to which a draft was requested."""
        self.language: str | None = None
        """What its text is in as far as it was checked; None: the session's language."""
        self._agreement = Agreement()
        self._shown: tuple[str, str] = ("", "")
        self._shown_end = begin

    @property
    def has_stable_text(self) -> bool:
        """Whether words were shown that will not change."""
        return bool(self._agreement.stable_text)

    def check_stability(self, decoded: Decoded, end: int, language: str) -> Partial | None:
        """Take a stability check: the words on which it and the previous one agree are stable from now on.

        Args:
            decoded: of its audio up to sample `end`.
            end: see above.
            language: ISO 639 code of what was spoken.

        Returns:
            The new partial, if the text to show has changed.
        """
        if needs_fallback(decoded.text, (end - self.begin) / SAMPLE_RATE, decoded.avg_logprob):
            return None
        self._agreement = self._agreement.update(tokenize(decoded.text, spaced=language not in UNSPACED))
        return self.draft(decoded, end, language)

    def draft(self, decoded: Decoded, end: int, language: str) -> Partial | None:
        """Take a draft, which changes what is shown but not what is stable.

        Args:
            decoded: of its audio up to sample `end`.
            end: see above.
            language: ISO 639 code of what was spoken.

        Returns:
            The new partial, if the text to show has changed and is plausible.
        """
        seconds = (end - self.begin) / SAMPLE_RATE
        if end < self._shown_end or needs_fallback(decoded.text, seconds, decoded.avg_logprob):
            return None
        self._shown_end = end
        return self._show(self._agreement.display_text(tokenize(decoded.text, spaced=language not in UNSPACED)), end)

    def withdraw(self, end: int) -> Partial | None:
        """Return an empty partial that withdraws what was shown: there is no final text."""
        return self._show("", end) if self._shown[0] else None

    def finalize(
        self, decoded: Decoded | None, ended: UtteranceEnded, language: str
    ) -> tuple[Final, tuple[TimedWord, ...]] | None:
        """Return its final text.

        Args:
            decoded: the whole utterance; None when there was nothing to decode.
            ended: where it ended.
            language: ISO 639 code of what was spoken.

        Returns:
            The final (its `seq` is 0) and its words, in seconds from the session's first sample; None without words.
        """
        begin, end = ended.begin * VAD_FRAME, ended.end * VAD_FRAME
        spaced = language not in UNSPACED
        words: Sequence[TimedWord] = ()
        if decoded is not None and not hallucinated(
            decoded, (end - begin) / SAMPLE_RATE, ended.speech_frames * VAD_FRAME / SAMPLE_RATE
        ):
            words = _placed(decoded, begin / SAMPLE_RATE, end / SAMPLE_RATE, spaced=spaced)
            speech_end = max(self.speech, ended.speech_end * VAD_FRAME)
            words = clamp_to_speech(words, [(self.speech / SAMPLE_RATE, speech_end / SAMPLE_RATE)])
        finalized = tuple(
            replace(word, language=language)
            for word in in_order(
                self._agreement.finalize(words, spaced=spaced, start=begin / SAMPLE_RATE, end=end / SAMPLE_RATE)
            )
        )
        if not finalized:
            return None
        final = Final(
            seq=0,
            utterance=self.number,
            text=join_tokens(finalized),
            words=tuple(
                FinalWord(word.text, round(word.start * 1000), round(word.end * 1000), round(word.probability, 4))
                for word in finalized
            ),
            start_ms=round(finalized[0].start * 1000),
            end_ms=round(finalized[-1].end * 1000),
            confidence=round(sum(word.probability for word in finalized) / len(finalized), 4),
            language=language,
            speech_final=not ended.cut,
        )
        return final, finalized

    def _show(self, text: str, end: int) -> Partial | None:
        stable = self._agreement.stable_text if text else ""
        if (text, stable) == self._shown:
            return None
        self._shown = (text, stable)
        return Partial(0, self.number, text, stable, millis(self.begin), millis(end))


def _placed(decoded: Decoded, begin: float, end: float, *, spaced: bool) -> list[TimedWord]:
    """Return words in seconds of the session; a text whose words could not be timed is spread over the window."""
    words: Sequence[TimedWord] = decoded.words
    if not words:
        parts = tokenize(decoded.text, spaced=spaced)
        step = (end - begin) / max(1, len(parts))
        words = [
            TimedWord(part.text, index * step, (index + 1) * step, 0.5, part.spaced) for index, part in enumerate(parts)
        ]
    return [replace(word, start=min(end, begin + word.start), end=min(end, begin + word.end)) for word in words]
