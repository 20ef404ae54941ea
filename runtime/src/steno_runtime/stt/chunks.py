"""Chunking: from speech probabilities to spans of speech, chunks to decode, and batches of equal windows.

Pure decisions over numbers: nothing here touches audio or a model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from steno_runtime.media.audio import SAMPLE_RATE

VAD_FRAME = 512
"""Samples of one voice-activity frame (32 ms)."""
VAD_FRAME_MILLIS = 1000 * VAD_FRAME // SAMPLE_RATE

MAX_SPEECH_SECONDS = 17.0
"""Longer speech without a pause is cut."""
MAX_CHUNK_SECONDS = 27.0
"""The longest window that leaves Whisper room for the silence in which it finds the end."""

DOUBTFUL_PROBABILITY = 0.6
"""Mean probability below which what was taken for speech is probably none: a hoarse voice still has 0.68."""
SHORT_SPEECH_SECONDS = 2.0
SHORT_DOUBTFUL_PROBABILITY = 0.7
"""The same of shorter speech: a note or two of an instrument; a single word still has 0.77."""

# Buckets of mel frames (10 ms): windows are padded to a multiple of STEP with a tail of silence, as far as there is
# room in FULL, which is what Whisper was trained on.
BUCKET_STEP = 500
FULL_FRAMES = 3000
TAIL_FRAMES = 1000
"""Tail of a recording's windows. On the even half of the corpus one of 300 made 4 and 10 % more errors on a GPU and on
a CPU with AMX. A full window takes longer; it made 5 % fewer on a CPU without VNNI, where the sums of weights still
overflowed."""
SHORT_TAIL_FRAMES = 300
"""Tail of live windows, which must be quick: the least with which Whisper finds the end."""


@dataclass(frozen=True)
class Span:
    """A range of samples, `[start, end)`."""

    start: int
    end: int
    probability: float = field(default=1.0, compare=False, kw_only=True)
    """Mean probability that it is speech, by voice activity detection; 1 where nobody asked."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start) / SAMPLE_RATE


@dataclass(frozen=True)
class Chunk(Span):
    """A range of samples that is decoded in one window."""

    speech: tuple[Span, ...] = ()
    """The spans of speech inside it."""
    pieces: tuple[Span, ...] = ()
    """What the window is made of, end to end: the chunk without the middle of its long pauses."""

    @property
    def window_samples(self) -> int:
        """Samples in the window."""
        return sum(piece.end - piece.start for piece in self.pieces)

    @property
    def window_seconds(self) -> float:
        """Length of the window in seconds."""
        return self.window_samples / SAMPLE_RATE

    @property
    def speech_seconds(self) -> float:
        """Seconds of speech."""
        return sum(span.seconds for span in self.speech)

    @property
    def is_doubtful(self) -> bool:
        """Whether voice activity detection itself doubts that this is speech: music and noise mostly."""
        likely = sum(span.seconds * span.probability for span in self.speech)
        is_short = self.speech_seconds < SHORT_SPEECH_SECONDS
        return likely < (SHORT_DOUBTFUL_PROBABILITY if is_short else DOUBTFUL_PROBABILITY) * self.speech_seconds

    def time_of(self, seconds: float, *, is_end: bool = False) -> float:
        """Return where a time in the window is in the audio.

        Args:
            seconds: from the beginning of the window.
            is_end: whether something ends there: where two pieces meet, that is the end of the first, not the
                beginning of the second.
        """
        within = round(seconds * SAMPLE_RATE)
        for piece in self.pieces:
            length = piece.end - piece.start
            if within < length or (is_end and within == length):
                return (piece.start + max(0, within)) / SAMPLE_RATE
            within -= length
        return self.end / SAMPLE_RATE


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
    max_speech_duration_s: float = MAX_SPEECH_SECONDS
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
    bounded = (
        Span(
            span.start * VAD_FRAME,
            min(length, span.end * VAD_FRAME),
            probability=fmean(probabilities[span.start : span.end]),
        )
        for span in spans
    )
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
    speech_pad_ms: int = 400,
) -> list[Chunk]:
    """Pack spans of speech into chunks: as few as possible, then as even as possible, so that workers share them well.

    Args:
        spans: sorted spans that do not overlap, none longer than `max_seconds`.
        length: samples of the audio.
        max_seconds: maximum length of a chunk's window, its padding included.
        max_pause_seconds: a longer pause always ends a chunk: what follows is often another matter.
        speech_pad_ms: audio kept before and after speech, where the neighbour leaves room. What is left of a pause
            inside a chunk is left out: silence costs time, and invites hallucination.

    Returns:
        Sorted chunks that do not overlap; every span is in exactly one.
    """
    max_samples = int(max_seconds * SAMPLE_RATE)
    pad = speech_pad_ms * SAMPLE_RATE // 1000
    groups: list[Sequence[Span]] = []
    for run in _runs(spans, int(max_pause_seconds * SAMPLE_RATE)):
        fewest = _fill(run, max_samples, pad)
        # The shortest limit that needs no more chunks makes them even.
        too_short, limit = 0, max_samples
        while limit - too_short > SAMPLE_RATE // 10:
            middle = (too_short + limit) // 2
            filled = _fill(run, middle, pad)
            if len(filled) > len(fewest):
                too_short = middle
            else:
                fewest, limit = filled, middle
        groups += fewest
    return [_padded(groups, index, length, max_samples, pad) for index in range(len(groups))]


def _runs(spans: Sequence[Span], max_pause: int) -> list[list[Span]]:
    """Divide spans at the pauses of at least `max_pause` samples."""
    runs: list[list[Span]] = []
    for span in spans:
        if runs and span.start - runs[-1][-1].end < max_pause:
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs


def _fill(run: Sequence[Span], max_samples: int, pad: int) -> list[list[Span]]:
    """Put each span into the same window as its predecessor if it fits there."""
    groups: list[list[Span]] = []
    filled = 0
    for span in run:
        samples = span.end - span.start
        if groups:
            longer = filled + min(span.start - groups[-1][-1].end, 2 * pad) + samples
            if longer <= max_samples:
                groups[-1].append(span)
                filled = longer
                continue
        groups.append([span])
        filled = samples
    return groups


def _padded(groups: Sequence[Sequence[Span]], index: int, length: int, max_samples: int, pad: int) -> Chunk:
    group = groups[index]
    pieces = [group[0]]
    for span in group[1:]:
        pause = span.start - pieces[-1].end
        if pause <= 2 * pad:
            pieces[-1] = Span(pieces[-1].start, span.end)
        else:
            pieces[-1] = Span(pieces[-1].start, pieces[-1].end + pad)
            pieces.append(Span(span.start - pad, span.end))
    first, last = group[0].start, group[-1].end
    before = groups[index - 1][-1].end if index else 0
    after = groups[index + 1][0].start if index + 1 < len(groups) else length
    # A pause between two chunks is shared half and half; the audio's own edges belong to their chunk whole.
    room_before = first - before if index == 0 else (first - before) // 2
    room_after = after - last if index + 1 == len(groups) else (after - last) // 2
    spare = max(0, max_samples - sum(piece.end - piece.start for piece in pieces))
    left = min(pad, room_before, spare // 2)
    right = min(pad, room_after, spare - left)
    pieces[0] = Span(first - left, pieces[0].end)
    pieces[-1] = Span(pieces[-1].start, last + right)
    return Chunk(first - left, last + right, tuple(group), tuple(pieces))


def mel_frames(samples: int) -> int:
    """Return the mel frames (10 ms each) that `samples` samples take."""
    return -(-samples // 160)


def window_frames(samples: int, tail: int) -> int:
    """Return the mel frames of the window that `samples` samples and a tail of `tail` mel frames are padded to."""
    padded = -(-(mel_frames(samples) + tail) // BUCKET_STEP) * BUCKET_STEP
    return min(FULL_FRAMES, padded)


def longest_audio(frames: int, tail: int) -> float:
    """Return the most seconds of audio that a window of `frames` mel frames is made for."""
    return MAX_CHUNK_SECONDS if frames >= FULL_FRAMES else (frames - tail) / 100


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
