"""Forced alignment: word times from a wav2vec2 CTC model of the language, through WhisperX.

Imports torch, so it is only imported where the model store has such a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.stt.engine import TimedWord
from steno_runtime.stt.segments import ends_sentence, in_order

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_BATCH = 16
_MAX_SECONDS = 15.0
_MAX_PAUSE_SECONDS = 0.8
_PAD_SECONDS = 0.2
"""Kept around a sentence, so that a word whose time was late or early is still inside."""


class _WholeText:
    """Replaces NLTK's sentence splitter, which WhisperX would download: its input is sentences already."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def realign(
    samples: Samples,
    words: Sequence[TimedWord],
    *,
    language: str,
    folder: Path,
    device: str,
    on_progress: Callable[[float], None],
    check: Check,
) -> list[TimedWord]:
    """Align words again; words that the model cannot spell keep their times.

    Args:
        samples: float32, mono, 16 kHz.
        words: in the order spoken, times in seconds from the beginning of the audio.
        language: ISO 639 code.
        folder: a wav2vec2 CTC model as transformers saves it.
        device: `cpu` or `cuda`.
        on_progress: called with the fraction done.
        check: called between batches; may raise to stop.

    Returns:
        The same words, none starting before its predecessor has ended.

    Raises:
        WorkError: `ModelNotFound` when the folder is not a wav2vec2 CTC model as transformers saves it.
    """
    import whisperx.alignment as whisperx

    whisperx.nltk_load = lambda _path: _WholeText()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        model, metadata = whisperx.load_align_model(language, device, model_name=str(folder), model_cache_only=True)
    except (ValueError, OSError) as err:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"{folder} is not a wav2vec2 CTC model that transformers can load. Correct it, or remove it to time words "
            "by Whisper itself.",
        ) from err
    sentences = _sentences(words)
    timed: list[TimedWord] = []
    for first in range(0, len(sentences), _BATCH):
        check()
        group = sentences[first : first + _BATCH]
        segments: list[Any] = [
            {
                "start": max(0.0, sentence[0].start - _PAD_SECONDS),
                "end": sentence[-1].end + _PAD_SECONDS,
                "text": "".join(f" {word.text}" if word.spaced else word.text for word in sentence).strip(),
            }
            for sentence in group
        ]
        aligned = whisperx.align(segments, model, metadata, samples, device)["segments"]
        for sentence, segment in zip(group, aligned, strict=True):
            timed.extend(_retimed(sentence, segment["words"]))
        on_progress(min(1.0, (first + _BATCH) / len(sentences)))
    return in_order(timed)


def _sentences(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    sentences: list[list[TimedWord]] = []
    for word in words:
        last = sentences[-1] if sentences else None
        if (
            last is None
            or ends_sentence(last[-1].text)
            or word.start - last[-1].end > _MAX_PAUSE_SECONDS
            or word.end - last[0].start > _MAX_SECONDS
        ):
            sentences.append([word])
        else:
            last.append(word)
    return sentences


def _retimed(sentence: Sequence[TimedWord], aligned: Sequence[Any]) -> list[TimedWord]:
    if len(aligned) != len(sentence):  # a language that WhisperX cuts into characters
        return list(sentence)
    earliest = 0.0
    timed: list[TimedWord] = []
    for word, new in zip(sentence, aligned, strict=True):
        start, end = float(new.get("start", word.start)), float(new.get("end", word.end))
        start = max(start, earliest)
        timed.append(replace(word, start=start, end=max(end, start)))
        earliest = start
    return timed
