"""Endpointing: where utterances begin and end, from speech probabilities, one per frame of 32 ms. Pure.

The decisions depend on the audio alone, never on when something is decoded: a loaded server cuts as an idle one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import MAX_SPEECH_SECONDS, VAD_FRAME, VAD_FRAME_MILLIS


@dataclass(frozen=True)
class EndpointOptions:
    """Thresholds, as in `VadOptions`, and lengths in frames of 32 ms."""

    min_silence_frames: int
    """Silence that ends an utterance."""
    short_silence_frames: int
    """Silence that ends a short one: the less Whisper hears at once, the more of it is wrong. Chosen with
    `short_frames` on the even half of the corpus: live text has 161 errors where 300 ms, whatever the length, have 185;
    500 ms, whatever the length, have as few, but in a conversation finals come late."""
    short_frames: int = 250
    """An utterance is short up to this length: 8 s."""
    threshold: float = 0.5
    neg_threshold: float = 0.35
    min_speech_frames: int = 2
    """Speech that begins an utterance: 64 ms."""
    pad_before_frames: int = 10
    """Audio kept before speech: 320 ms."""
    pad_after_frames: int = 5
    """Audio kept after speech: 160 ms, or less where the next utterance begins sooner."""
    max_frames: int = int(MAX_SPEECH_SECONDS * SAMPLE_RATE) // VAD_FRAME
    """Longer utterances are cut; the same bound as in the batch path."""
    check_at_frames: tuple[int, ...] = (62, 156, 250, 344)
    """Lengths at which an utterance is decoded to see which words are stable: after 2, 5, 8 and 11 s. Not later: what
    is stable must lie before the cut, which needs room to choose its place."""

    @classmethod
    def from_millis(cls, endpointing_millis: int) -> EndpointOptions:
        """Return options with this silence, in milliseconds, and five thirds of it for short utterances."""
        frames = endpointing_millis / VAD_FRAME_MILLIS
        return cls(max(1, math.ceil(frames)), max(1, math.ceil(frames * 5 / 3)))


@dataclass(frozen=True)
class UtteranceStarted:
    """An utterance begins: its audio at frame `begin`, its speech at frame `speech`."""

    begin: int
    speech: int


@dataclass(frozen=True)
class StabilityCheck:
    """The utterance's audio up to frame `end` must be decoded to find stable words, whatever the load."""

    end: int


@dataclass(frozen=True)
class PossibleEnd:
    """A pause. If it lasts, the utterance's audio ends at frame `end`; otherwise `SpeechResumed` follows."""

    end: int


@dataclass(frozen=True)
class SpeechResumed:
    """Speech goes on after `PossibleEnd`."""


@dataclass(frozen=True)
class UtteranceEnded:
    """An utterance ends: its audio is frames `[begin, end)`, its last speech ends at frame `speech_end`."""

    begin: int
    end: int
    speech_end: int
    speech_frames: int
    """Number of frames with speech."""
    cut: bool = False
    """Whether only its length ended it: the next utterance begins at `end`, without `UtteranceStarted`."""


EndpointEvent = UtteranceStarted | StabilityCheck | PossibleEnd | SpeechResumed | UtteranceEnded


class Endpointer:
    """Finds utterances in speech probabilities, frame by frame."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._index = 0  # frames pushed
        self._onset = 0  # frames of speech in a row while no utterance is open
        self._floor = 0  # where the last utterance's audio ended
        self._begin: int | None = None
        self._probabilities: list[float] = []  # since `begin`
        self._silent = 0
        self._checks: list[int] = []  # lengths at the checks so far
        self._checks_due = 0

    @property
    def speaking(self) -> bool:
        """Whether the last frame was speech of an open utterance."""
        return self._begin is not None and not self._silent

    @property
    def index(self) -> int:
        """Number of frames pushed."""
        return self._index

    @property
    def needed(self) -> int:
        """First frame that an utterance, open or to come, may contain."""
        if self._begin is not None:
            return self._begin
        return max(self._floor, self._index - self._onset - self._options.pad_before_frames)

    def push(self, probability: float) -> list[EndpointEvent]:
        """Take the next frame's speech probability; return its events, in order."""
        self._index += 1
        if self._begin is None:
            return self._wait_for_speech(probability)
        self._probabilities.append(probability)
        return self._continue(self._begin, probability)

    def flush(self) -> list[EndpointEvent]:
        """End the open utterance here."""
        if self._begin is None:
            self._onset = 0
            return []
        return [self._end(self._begin)]

    def _wait_for_speech(self, probability: float) -> list[EndpointEvent]:
        options = self._options
        self._onset = self._onset + 1 if probability >= options.threshold else 0
        if self._onset < options.min_speech_frames:
            return []
        speech = self._index - self._onset
        self._begin = max(self._floor, speech - options.pad_before_frames)
        self._probabilities = [0.0] * (speech - self._begin) + [1.0] * self._onset
        self._onset, self._silent, self._checks, self._checks_due = 0, 0, [], 0
        return [UtteranceStarted(self._begin, speech)]

    def _continue(self, begin: int, probability: float) -> list[EndpointEvent]:
        options = self._options
        events: list[EndpointEvent] = []
        if probability >= options.threshold:
            if self._silent >= options.pad_after_frames:
                events.append(SpeechResumed())
            self._silent = 0
        elif probability < options.neg_threshold or self._silent:
            # Between the thresholds a silence goes on, but does not begin.
            self._silent += 1
            short = len(self._probabilities) - self._silent < options.short_frames
            if self._silent >= (options.short_silence_frames if short else options.min_silence_frames):
                return [self._end(begin)]
            if self._silent == options.pad_after_frames:
                events.append(PossibleEnd(self._index))
        length = len(self._probabilities)
        if length >= options.max_frames:
            # In a long enough pause it simply ends; otherwise it is cut, and speech goes on.
            return [self._end(begin) if self._silent >= options.pad_after_frames else self._cut(begin)]
        due = sum(length >= at for at in options.check_at_frames)
        if self._silent == 0 and due > self._checks_due:
            self._checks_due = due
            self._checks.append(length)
            events.append(StabilityCheck(self._index))
        return events

    def _end(self, begin: int) -> UtteranceEnded:
        speech_end = self._index - self._silent
        end = min(self._index, speech_end + self._options.pad_after_frames)
        ended = UtteranceEnded(begin, end, speech_end, self._speech_frames(self._probabilities[: end - begin]))
        self._floor, self._begin, self._silent, self._onset, self._probabilities = ended.end, None, 0, 0, []
        return ended

    def _cut(self, begin: int) -> UtteranceEnded:
        """Cut in the middle of the longest pause, else where speech is least likely."""
        length = len(self._probabilities)
        # Audio after the last check but one cannot be stable yet, and what is stable never lies behind the cut.
        low = max(length // 2, self._checks[-2] if len(self._checks) > 1 else 0)
        high = length - self._silent
        pause, at = 0, 0
        run = 0
        for position in range(low, high):
            run = run + 1 if self._probabilities[position] < self._options.neg_threshold else 0
            if run and run >= pause:
                pause, at = run, position + 1 - run // 2
        if not pause:
            at = min(range(low, high), key=lambda position: (self._probabilities[position], -position)) + 1
        before, self._probabilities = self._probabilities[:at], self._probabilities[at:]
        ended = UtteranceEnded(begin, begin + at, begin + at, self._speech_frames(before), cut=True)
        self._floor = self._begin = ended.end
        self._checks, self._checks_due = [], 0
        return ended

    def _speech_frames(self, probabilities: list[float]) -> int:
        return sum(probability >= self._options.neg_threshold for probability in probabilities)
