"""Language diarization within chunks: where one may hold two languages, its parts are detected on their own.

People who take turns in two languages leave pauses that are too short to end a chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from steno_runtime.errors import Check
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import Chunk, Span
from steno_runtime.stt.decoding import decode_chunks, profiles_of, window_of
from steno_runtime.stt.engine import AutoLanguage, Decoded, Engine
from steno_runtime.stt.language_changes import (
    CLEAR_SECONDS,
    LanguageEvidence,
    language_evidence,
    speech_evidence,
    spoken_languages,
)

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

UNCLEAR_PROBABILITY = 0.98
"""A chunk whose likeliest language has less may hold another one, too."""


@dataclass(frozen=True)
class Part:
    """A chunk, or a part of one whose language was detected on its own.

    Attributes:
        index: of the chunk.
        chunk: the part.
        evidence: of its languages.
    """

    index: int
    chunk: Chunk
    evidence: LanguageEvidence


@dataclass(frozen=True)
class LanguagesHeard:
    """Chunks that have one language each, and what it was judged by.

    Attributes:
        chunks: those of several languages are split.
        decoded: of each chunk, maybe in another language than it has.
        languages: of each chunk.
        parts: that were listened to.
        part_languages: of each part, all considered.
    """

    chunks: Sequence[Chunk]
    decoded: Sequence[Decoded]
    languages: Sequence[str]
    parts: Sequence[Part]
    part_languages: Sequence[str]


def split_at_changes(
    samples: Samples,
    chunks: Sequence[Chunk],
    decoded: Sequence[Decoded],
    engine: Engine,
    *,
    auto: AutoLanguage,
    check: Check,
) -> LanguagesHeard:
    """Split the chunks whose language changes within them, decode what they are split into, and judge the languages.

    Args:
        samples: float32, mono, 16 kHz.
        chunks: of the samples.
        decoded: of each chunk, with the probabilities of its languages.
        engine: detects and decodes.
        auto: the languages to choose from.
        check: see `decode_chunks`.

    Returns:
        All chunks and their texts; those of one language as they were.
    """
    evidence = language_evidence(chunks, decoded, auto)
    divided = _divide(samples, {index: chunks[index] for index in suspects(evidence)}, engine, auto, check)
    parts: list[Part] = []
    for index, chunk in enumerate(chunks):
        parts += divided.get(index) or [Part(index, chunk, evidence[index])]
    languages = spoken_languages([part.evidence for part in parts])
    runs = [
        (index, language, [part for part, _ in run])
        for (index, language), run in groupby(
            zip(parts, languages, strict=True), key=lambda pair: (pair[0].index, pair[1])
        )
    ]
    counts = Counter(index for index, _, _ in runs)
    split = {
        at: _cut(chunks[index], run[0].chunk.start, run[-1].chunk.end)
        for at, (index, _, run) in enumerate(runs)
        if counts[index] > 1
    }
    new = list(split.values())
    rows = decode_chunks(samples, new, [runs[at][1] for at in split], engine, check=check, profile=profiles_of(new))
    again = dict(zip(split, rows, strict=True))
    return LanguagesHeard(
        [split.get(at, chunks[index]) for at, (index, _, _) in enumerate(runs)],
        [again.get(at, decoded[index]) for at, (index, _, _) in enumerate(runs)],
        [language for _, language, _ in runs],
        parts,
        languages,
    )


def suspects(evidence: Sequence[LanguageEvidence]) -> list[int]:
    """Return the chunks that may hold two languages: their evidence is unclear, or the language changes beside them."""
    languages = spoken_languages(evidence)
    beside = {index for at, (one, other) in enumerate(pairwise(languages)) if one != other for index in (at, at + 1)}
    return [
        index
        for index, one in enumerate(evidence)
        if one.seconds >= 2 * CLEAR_SECONDS
        and (index in beside or max(one.probabilities.values()) < UNCLEAR_PROBABILITY)
    ]


def halve(chunk: Chunk) -> Sequence[Chunk]:
    """Cut a chunk at its longest pause, the middle one of several, if both parts are long enough to tell a language.

    Pauses of the same quarter of a second are of the same length.
    """
    speech = chunk.speech
    shorter = {
        cut: min(sum(span.seconds for span in side) for side in (speech[:cut], speech[cut:]))
        for cut in range(1, len(speech))
    }
    cuts = [cut for cut, seconds in shorter.items() if seconds >= CLEAR_SECONDS]
    if not cuts:
        return ()
    cut = max(cuts, key=lambda cut: (4 * (speech[cut].start - speech[cut - 1].end) // SAMPLE_RATE, shorter[cut]))
    middle = (speech[cut - 1].end + speech[cut].start) // 2
    return _cut(chunk, chunk.start, middle), _cut(chunk, middle, chunk.end)


def _divide(
    samples: Samples, chunks: Mapping[int, Chunk], engine: Engine, auto: AutoLanguage, check: Check
) -> dict[int, list[Part]]:
    """Detect the language of the halves of chunks, by index, and of their halves as long as it is unclear."""
    found: dict[int, list[Part]] = {}
    todo = list(chunks.items())
    while halves := [(index, half) for index, chunk in todo for half in halve(chunk)]:
        todo = []
        detected = _detect(samples, [half for _, half in halves], engine, check)
        for (index, half), probabilities in zip(halves, detected, strict=True):
            seconds = 0.0 if half.is_doubtful else half.speech_seconds
            part = Part(index, half, speech_evidence(seconds, probabilities, auto, is_part=True))
            if max(part.evidence.probabilities.values()) < UNCLEAR_PROBABILITY and halve(half):
                todo.append((index, half))
            else:
                found.setdefault(index, []).append(part)
    return {index: sorted(parts, key=lambda part: part.chunk.start) for index, parts in found.items()}


def _cut(chunk: Chunk, start: int, end: int) -> Chunk:
    """Return the part of a chunk between two samples in pauses."""
    speech = tuple(span for span in chunk.speech if start <= span.start < end)
    pieces = (Span(max(start, piece.start), min(end, piece.end)) for piece in chunk.pieces)
    return Chunk(start, end, speech, tuple(piece for piece in pieces if piece.start < piece.end))


def _detect(samples: Samples, chunks: Sequence[Chunk], engine: Engine, check: Check) -> Iterable[Mapping[str, float]]:
    for at in range(0, len(chunks), engine.batch_size):
        check()
        yield from engine.detect_languages([window_of(samples, chunk) for chunk in chunks[at : at + engine.batch_size]])
