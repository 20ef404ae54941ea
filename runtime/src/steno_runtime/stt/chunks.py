"""Where speech is, and how it is cut into what the engine decodes: pure decisions over frames and samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SAMPLE_RATE = 16_000
FRAME = 512
"""Samples of one voice-activity frame (32 ms)."""

MAX_CHUNK_SECONDS = 17.0
"""Measured: longer chunks cost more and gain nothing (the decoder's steps grow with the longest row of a batch)."""

# Frame buckets: windows are padded to a multiple of STEP with at least TAIL frames of silence, without which Whisper
# may not find its end; FULL is what it was trained on.
BUCKET_STEP = 500
TAIL_FRAMES = 300
FULL_FRAMES = 3000


@dataclass(frozen=True)
class Span:
    """A stretch of samples, `[start, end)`."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start) / SAMPLE_RATE


@dataclass(frozen=True)
class Chunk(Span):
    """What is decoded at once: a stretch of samples and the speech spans inside it."""

    speech: tuple[Span, ...] = ()


@dataclass(frozen=True)
class VadOptions:
    """How probabilities become speech: hysteresis thresholds, and lengths in frames of 32 ms."""

    onset: float = 0.5
    offset: float = 0.35
    min_silence: int = 5
    min_speech: int = 3
    max_speech: int = int(MAX_CHUNK_SECONDS * SAMPLE_RATE) // FRAME


def speech_spans(probabilities: Sequence[float], length: int, options: VadOptions | None = None) -> list[Span]:
    """Turns speech probabilities into spans of speech.

    Args:
        probabilities: one per frame of 512 samples.
        length: samples of the audio; no span goes past it.
        options: thresholds and lengths.

    Returns:
        Sorted spans that do not overlap, none longer than `max_speech` frames: longer speech is cut where speech is
        least likely in its second half.
    """
    options = options or VadOptions()
    spans: list[Span] = []
    start: int | None = None
    silent = 0
    # Silence appended: speech that lasts to the end ends there.
    for index, probability in enumerate([*probabilities, *([0.0] * options.min_silence)]):
        if start is None:
            if probability >= options.onset:
                start, silent = index, 0
        elif probability >= options.onset:
            silent = 0
        elif probability < options.offset or silent:
            # Between the thresholds a silence goes on, but does not begin.
            silent += 1
            if silent >= options.min_silence:
                end = index + 1 - silent
                if end - start >= options.min_speech:
                    spans.extend(_cut_long(start, end, probabilities, options.max_speech))
                start, silent = None, 0
    bounded = (Span(span.start * FRAME, min(length, span.end * FRAME)) for span in spans)
    return [span for span in bounded if span.end > span.start]


def _cut_long(start: int, end: int, probabilities: Sequence[float], longest: int) -> Iterable[Span]:
    while end - start > longest:
        half = start + longest // 2
        cut = min(range(half, start + longest), key=lambda index: (probabilities[index], -index)) + 1
        yield Span(start, cut)
        start = cut
    yield Span(start, end)


def pack(
    spans: Sequence[Span],
    length: int,
    *,
    longest: float = MAX_CHUNK_SECONDS,
    longest_pause: float = 3.0,
    pad: float = 0.2,
) -> list[Chunk]:
    """Packs spans of speech into chunks, cut at the longest pause.

    Args:
        spans: sorted spans that do not overlap, none longer than `longest`.
        length: samples of the audio.
        longest: seconds a chunk may have, its padding included.
        longest_pause: a pause of that many seconds always ends a chunk: silence costs time and invites inventions.
        pad: seconds of audio kept before and after the speech of a chunk, where the neighbour leaves room.

    Returns:
        Sorted chunks that do not overlap; every span is in exactly one.
    """
    most = int(longest * SAMPLE_RATE)
    groups: list[Sequence[Span]] = []
    rest = list(spans)
    while rest:
        count = 1
        while (
            count < len(rest)
            and rest[count].end - rest[0].start <= most
            and rest[count].start - rest[count - 1].end < longest_pause * SAMPLE_RATE
        ):
            count += 1
        more = count < len(rest) and rest[count].start - rest[count - 1].end < longest_pause * SAMPLE_RATE
        if more:
            # It goes on without a break: cut at the longest pause of the second half, the last one if several.
            middle = rest[0].start + most // 2
            cuts = [cut for cut in range(1, count + 1) if rest[cut - 1].end >= middle] or [count]
            count = max(cuts, key=lambda cut: (rest[cut].start - rest[cut - 1].end, cut))
        groups.append(rest[:count])
        rest = rest[count:]
    return [_padded(groups, index, length, most, int(pad * SAMPLE_RATE)) for index in range(len(groups))]


def _padded(groups: Sequence[Sequence[Span]], index: int, length: int, most: int, pad: int) -> Chunk:
    group = groups[index]
    first, last = group[0].start, group[-1].end
    before = groups[index - 1][-1].end if index else 0
    after = groups[index + 1][0].start if index + 1 < len(groups) else length
    # A pause between two chunks is shared half and half; the audio's own edges belong to their chunk whole.
    room_before = first - before if index == 0 else (first - before) // 2
    room_after = after - last if index + 1 == len(groups) else (after - last) // 2
    spare = max(0, most - (last - first))
    left = min(pad, room_before, spare // 2)
    right = min(pad, room_after, spare - left)
    return Chunk(first - left, last + right, tuple(group))


def bucket(frames: int) -> int:
    """The window that `frames` mel frames (10 ms each) are padded to."""
    padded = -(-(frames + TAIL_FRAMES) // BUCKET_STEP) * BUCKET_STEP
    return min(FULL_FRAMES, padded)


def frames_of(samples: int) -> int:
    """Mel frames of that many samples."""
    return -(-samples // 160)


def batches(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Groups windows of the same bucket into batches.

    Args:
        sizes: the bucket of each window.
        most: windows of a batch.

    Returns:
        Indexes of the windows of each batch; batches come in the order of their first window.
    """
    waiting: dict[int, list[int]] = {}
    done: list[list[int]] = []
    for index, size in enumerate(sizes):
        group = waiting.setdefault(size, [])
        group.append(index)
        if len(group) == most:
            done.append(waiting.pop(size))
    done.extend(waiting.values())
    return sorted(done)
