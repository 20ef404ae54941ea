# ruff: noqa: RUF001 - full-width punctuation is meant
"""Whisper's tokenizers, one for each language, with what a decoder must not write; and the words of an alignment.

Separate because the engine is about decoding: what is here knows tokens and no audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steno_runtime.stt.engine import UNSPACED, TimedWord
from steno_runtime.stt.languages import whisper_code

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_PREPENDED = "\"'“¿([{-「『（《"
_APPENDED = "\"'.。,，!！?？:：”)]}、」』）》…"


class Tokenizers:
    """Tokenizers of a model."""

    def __init__(self, whisper: WhisperModel, *, translate: bool) -> None:
        """Make none yet.

        Args:
            whisper: the model.
            translate: whether it is to write English, whatever is spoken.
        """
        self._whisper = whisper
        self._translate = translate
        self._made: dict[str, Any] = {}

    def of(self, language: str) -> Any:
        """Return the tokenizer for speech in a language (BCP 47, one that the model knows)."""
        if language not in self._made:
            from faster_whisper.tokenizer import Tokenizer

            self._made[language] = Tokenizer(
                self._whisper.hf_tokenizer,
                self._whisper.model.is_multilingual,
                task="translate" if self._translate else "transcribe",
                language=whisper_code(language),
            )
        return self._made[language]

    def suppressed(self, language: str) -> list[int]:
        """Return the tokens that are no text: those of tasks, and of sounds and notes."""
        from faster_whisper.transcribe import get_suppressed_tokens

        return list(get_suppressed_tokens(self.of(language), [-1]) or ())  # pyright: ignore[reportArgumentType]

    def words(self, row: list[dict[str, Any]], language: str) -> tuple[TimedWord, ...]:
        """Return the words of an alignment, with their punctuation.

        Args:
            row: words as faster-whisper has them; their punctuation is merged in it.
            language: that was spoken.
        """
        from faster_whisper.transcribe import merge_punctuations

        merge_punctuations(row, _PREPENDED, _APPENDED)
        return timed_words(row, spaced=self._translate or language not in UNSPACED)


def timed_words(row: Sequence[Mapping[str, Any]], *, spaced: bool) -> tuple[TimedWord, ...]:
    """Build words from an alignment; where words are spaced, a part without a leading space (`%`) joins its word."""
    words: list[TimedWord] = []
    for item in row:
        raw, text = str(item["word"]), str(item["word"]).strip()
        if not text:
            continue
        start, end = float(item["start"]), float(item["end"])
        probability = min(1.0, max(0.0, float(item["probability"])))
        space = raw.startswith(" ")
        if spaced and words and not space:
            last = words[-1]
            words[-1] = TimedWord(last.text + text, last.start, max(last.end, end), last.probability, last.spaced)
        else:
            words.append(TimedWord(text, start, end, probability, spaced or space))
    return tuple(words)
