"""Word times from a wav2vec2 model of the language, through WhisperX. Imports torch: only where the store has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stt.engine import TimedWord
from steno_runtime.stt.segments import ends_sentence

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_GROUP = 16
_LONGEST = 15.0
_PAUSE = 0.8
_MARGIN = 0.2
"""Seconds kept around a stretch, so that a word whose time was late or early is still inside."""


class _WholeText:
    """Stands in for NLTK's sentence splitter, which WhisperX would download: stretches are sentences already."""

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
    check: Callable[[], None],
) -> list[TimedWord]:
    """Times words anew; words the model cannot spell keep the time they had.

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
    stretches = _stretches(words)
    timed: list[TimedWord] = []
    for first in range(0, len(stretches), _GROUP):
        check()
        group = stretches[first : first + _GROUP]
        segments: list[Any] = [
            {
                "start": max(0.0, stretch[0].start - _MARGIN),
                "end": stretch[-1].end + _MARGIN,
                "text": "".join(f" {word.text}" if word.spaced else word.text for word in stretch).strip(),
            }
            for stretch in group
        ]
        aligned = whisperx.align(segments, model, metadata, samples, device)["segments"]
        for stretch, segment in zip(group, aligned, strict=True):
            timed.extend(_retimed(stretch, segment["words"]))
        on_progress(min(1.0, (first + _GROUP) / len(stretches)))
    return timed


def _stretches(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    stretches: list[list[TimedWord]] = []
    for word in words:
        last = stretches[-1] if stretches else None
        if (
            last is None
            or ends_sentence(last[-1].text)
            or word.start - last[-1].end > _PAUSE
            or word.end - last[0].start > _LONGEST
        ):
            stretches.append([word])
        else:
            last.append(word)
    return stretches


def _retimed(stretch: Sequence[TimedWord], aligned: Sequence[Any]) -> list[TimedWord]:
    if len(aligned) != len(stretch):  # a language that WhisperX cuts into characters
        return list(stretch)
    earliest = 0.0
    timed: list[TimedWord] = []
    for word, new in zip(stretch, aligned, strict=True):
        start, end = float(new.get("start", word.start)), float(new.get("end", word.end))
        start = max(start, earliest)
        timed.append(replace(word, start=start, end=max(end, start)))
        earliest = start
    return timed
