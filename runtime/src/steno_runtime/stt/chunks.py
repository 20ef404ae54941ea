"""Chunking: from speech probabilities to spans of speech, chunks to decode, and batches of equal windows.

Pure decisions over numbers: nothing here touches audio or a model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from steno_runtime.media.audio import SAMPLE_RATE

VAD_FRAME = 512
"""Samples of one voice-activity frame (32 ms)."""
VAD_FRAME_MILLIS = 1000 * VAD_FRAME // SAMPLE_RATE

MAX_CHUNK_SECONDS = 17.0
"""Measured: longer chunks cost more and gain nothing (the decoder's steps grow with the longest row of a batch)."""

# Buckets of mel frames (10 ms): windows are padded to a multiple of STEP with at least TAIL frames of silence, without
# which Whisper may not find its end; FULL is what it was trained on.
BUCKET_STEP = 500
TAIL_FRAMES = 300
FULL_FRAMES = 3000


@dataclass(frozen=True)
class Span:
    """A range of samples, `[start, end)`."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start) / SAMPLE_RATE


@dataclass(frozen=True)
class Chunk(Span):
    """A range of samples that is decoded in one window, and the speech spans inside it."""

    speech: tuple[Span, ...] = ()


@dataclass(frozen=True)
class VadOptions:
    """How probabilities become speech; faster-whisper's names, with defaults of our own."""

    threshold: float = 0.5
    """A frame at or above it begins speech."""
    neg_threshold: float = 0.35
    """A frame below it begins silence; between the two, speech and silence go on as they are."""
    min_silence_duration_ms: int = 5 * VAD_FRAME_MILLIS
    """Shorter silence does not end speech."""
    min_speech_duration_ms: int = 3 * VAD_FRAME_MILLIS
    """Shorter speech is dropped."""
    max_speech_duration_s: float = MAX_CHUNK_SECONDS
    """Longer speech is cut."""


def speech_spans(probabilities: Sequence[float], length: int, options: VadOptions | None = None) -> list[Span]:
    """Turn speech probabilities into spans of speech.

    Args:
        probabilities: one per frame of 512 samples.
        length: samples of the audio; no span goes past it.
        options: thresholds and durations.

    Returns:
        Sorted spans that do not overlap, none longer than `max_speech_duration_s`: longer speech is cut where speech
        is least likely in its second half.
    """
    options = options or VadOptions()
    min_silence = options.min_silence_duration_ms // VAD_FRAME_MILLIS
    min_speech = options.min_speech_duration_ms // VAD_FRAME_MILLIS
    max_speech = int(options.max_speech_duration_s * SAMPLE_RATE) // VAD_FRAME
    spans: list[Span] = []
    start: int | None = None
    silent = 0
    # Silence appended: speech that lasts to the end ends there.
    for index, probability in enumerate([*probabilities, *([0.0] * min_silence)]):
        if start is None:
            if probability >= options.threshold:
                start, silent = index, 0
        elif probability >= options.threshold:
            silent = 0
        elif probability < options.neg_threshold or silent:
            # Between the thresholds a silence goes on, but does not begin.
            silent += 1
            if silent >= min_silence:
                end = index + 1 - silent
                if end - start >= min_speech:
                    spans.extend(_cut_long(start, end, probabilities, max_speech))
                start, silent = None, 0
    bounded = (Span(span.start * VAD_FRAME, min(length, span.end * VAD_FRAME)) for span in spans)
    return [span for span in bounded if span.end > span.start]


def _cut_long(start: int, end: int, probabilities: Sequence[float], max_frames: int) -> Iterable[Span]:
    while end - start > max_frames:
        half = start + max_frames // 2
        cut = min(range(half, start + max_frames), key=lambda index: (probabilities[index], -index)) + 1
        yield Span(start, cut)
        start = cut
    yield Span(start, end)


def pack(
    spans: Sequence[Span],
    length: int,
    *,
    max_seconds: float = MAX_CHUNK_SECONDS,
    max_pause_seconds: float = 3.0,
    speech_pad_ms: int = 200,
) -> list[Chunk]:
    """Pack spans of speech into chunks, cut at the longest pause.

    Args:
        spans: sorted spans that do not overlap, none longer than `max_seconds`.
        length: samples of the audio.
        max_seconds: maximum length of a chunk, its padding included.
        max_pause_seconds: a longer pause always ends a chunk: silence costs time and invites hallucination.
        speech_pad_ms: audio kept before and after the speech of a chunk, where the neighbour leaves room.

    Returns:
        Sorted chunks that do not overlap; every span is in exactly one.
    """
    max_samples = int(max_seconds * SAMPLE_RATE)
    groups: list[Sequence[Span]] = []
    rest = list(spans)
    while rest:
        count = 1
        while (
            count < len(rest)
            and rest[count].end - rest[0].start <= max_samples
            and rest[count].start - rest[count - 1].end < max_pause_seconds * SAMPLE_RATE
        ):
            count += 1
        more = count < len(rest) and rest[count].start - rest[count - 1].end < max_pause_seconds * SAMPLE_RATE
        if more:
            # It goes on without a break: cut at the longest pause of the second half, the last one if several.
            middle = rest[0].start + max_samples // 2
            cuts = [cut for cut in range(1, count + 1) if rest[cut - 1].end >= middle] or [count]
            count = max(cuts, key=lambda cut: (rest[cut].start - rest[cut - 1].end, cut))
        groups.append(rest[:count])
        rest = rest[count:]
    pad = speech_pad_ms * SAMPLE_RATE // 1000
    return [_padded(groups, index, length, max_samples, pad) for index in range(len(groups))]


def _padded(groups: Sequence[Sequence[Span]], index: int, length: int, max_samples: int, pad: int) -> Chunk:
    group = groups[index]
    first, last = group[0].start, group[-1].end
    before = groups[index - 1][-1].end if index else 0
    after = groups[index + 1][0].start if index + 1 < len(groups) else length
    # A pause between two chunks is shared half and half; the audio's own edges belong to their chunk whole.
    room_before = first - before if index == 0 else (first - before) // 2
    room_after = after - last if index + 1 == len(groups) else (after - last) // 2
    spare = max(0, max_samples - (last - first))
    left = min(pad, room_before, spare // 2)
    right = min(pad, room_after, spare - left)
    return Chunk(first - left, last + right, tuple(group))


def bucket(frames: int) -> int:
    """Return the mel frames (10 ms each) of the window that `frames` mel frames are padded to."""
    padded = -(-(frames + TAIL_FRAMES) // BUCKET_STEP) * BUCKET_STEP
    return min(FULL_FRAMES, padded)


def mel_frames(samples: int) -> int:
    """Return the mel frames (10 ms each) that `samples` samples take."""
    return -(-samples // 160)


def batches(sizes: Sequence[Hashable], max_windows: int, workers: int = 1) -> list[list[int]]:
    """Group windows of the same size into batches, so that workers who decode side by side end at about the same time.

    Args:
        sizes: of each window: what the windows of a batch must have in common.
        max_windows: maximum number of windows in a batch.
        workers: batches that are decoded at a time.

    Returns:
        Indexes of the windows of each batch, the larger batches first: a large one at the end would run alone.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    limit = min(max_windows, -(-len(sizes) // workers))  # a short recording is divided too
    made: list[list[int]] = []
    for group in groups.values():
        count = -(-len(group) // limit)
        if count > 1:
            count = min(len(group), -(-count // workers) * workers)
        made += [group[len(group) * part // count : len(group) * (part + 1) // count] for part in range(count)]
    return sorted(made, key=lambda batch: (-len(batch), batch))
