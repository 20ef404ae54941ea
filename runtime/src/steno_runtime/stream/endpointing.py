"""Where utterances begin and end: a pure machine over speech probabilities, one per frame of 32 ms.

What it decides depends on the audio alone, never on when something is decoded: a loaded server cuts as an idle one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from steno_runtime.stt.chunks import FRAME, MAX_CHUNK_SECONDS, SAMPLE_RATE

FRAME_MILLIS = 1000 * FRAME // SAMPLE_RATE


@dataclass(frozen=True)
class EndpointOptions:
    """Thresholds, and lengths in frames."""

    endpoint: int
    """Silence that ends an utterance."""
    onset: float = 0.5
    offset: float = 0.35
    start: int = 2
    """Speech that begins one: 64 ms."""
    before: int = 10
    """Audio kept before speech: 320 ms."""
    after: int = 5
    """And behind it: 160 ms, or less where the next utterance begins sooner."""
    longest: int = int(MAX_CHUNK_SECONDS * SAMPLE_RATE) // FRAME
    """Longer ones are cut; the batch path's measure."""
    looks: tuple[int, ...] = (62, 156, 250, 344)
    """Lengths at which an utterance is looked at to see which words stand: after 2, 5, 8 and 11 s. Not later: what
    stands must be in front of the cut, which wants room to choose its place."""

    @classmethod
    def of(cls, endpointing_millis: int) -> EndpointOptions:
        """Options for a silence in milliseconds."""
        return cls(endpoint=max(1, math.ceil(endpointing_millis / FRAME_MILLIS)))


@dataclass(frozen=True)
class Started:
    """An utterance begins: its audio at frame `begin`, speech at frame `speech`."""

    begin: int
    speech: int


@dataclass(frozen=True)
class Look:
    """The utterance's audio up to frame `end` is to be looked at, whatever the load."""

    end: int


@dataclass(frozen=True)
class Quiet:
    """A pause. If it lasts, the utterance's audio ends at frame `end`; if not, `Resumed` follows."""

    end: int


@dataclass(frozen=True)
class Resumed:
    """Speech goes on after `Quiet`."""


@dataclass(frozen=True)
class Ended:
    """An utterance ends: audio of frames `[begin, end)`, the last speech ends at frame `speech_end`."""

    begin: int
    end: int
    speech_end: int
    speech_frames: int
    """Frames that hold speech."""
    cut: bool = False
    """Whether only its length ended it: the next utterance begins at `end`, without `Started`."""


Change = Started | Look | Quiet | Resumed | Ended


class Endpointer:
    """Tells utterances from probabilities, frame by frame."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._index = 0  # frames heard
        self._onset = 0  # frames of speech in a row, while nobody is taken to speak
        self._floor = 0  # where the last utterance's audio ended
        self._begin: int | None = None
        self._heard: list[float] = []  # probabilities since `begin`
        self._silent = 0
        self._looks: list[int] = []
        self._due = 0

    @property
    def begin(self) -> int | None:
        """First frame of the open utterance; None when nobody speaks."""
        return self._begin

    @property
    def speaking(self) -> bool:
        """Whether the last frame was speech of an open utterance."""
        return self._begin is not None and not self._silent

    @property
    def index(self) -> int:
        """Frames heard."""
        return self._index

    @property
    def needed(self) -> int:
        """First frame that an utterance, open or to come, may contain."""
        if self._begin is not None:
            return self._begin
        return max(self._floor, self._index - self._onset - self._options.before)

    def push(self, probability: float) -> list[Change]:
        """Takes the next frame; returns what it changes, in order."""
        self._index += 1
        if self._begin is None:
            return self._wait(probability)
        self._heard.append(probability)
        return self._go_on(self._begin, probability)

    def flush(self) -> list[Change]:
        """Ends the open utterance here."""
        if self._begin is None:
            self._onset = 0
            return []
        return [self._end(self._begin)]

    def _wait(self, probability: float) -> list[Change]:
        options = self._options
        self._onset = self._onset + 1 if probability >= options.onset else 0
        if self._onset < options.start:
            return []
        speech = self._index - self._onset
        self._begin = max(self._floor, speech - options.before)
        self._heard = [0.0] * (speech - self._begin) + [1.0] * self._onset
        self._onset, self._silent, self._looks, self._due = 0, 0, [], 0
        return [Started(self._begin, speech)]

    def _go_on(self, begin: int, probability: float) -> list[Change]:
        options = self._options
        changes: list[Change] = []
        if probability >= options.onset:
            if self._silent >= options.after:
                changes.append(Resumed())
            self._silent = 0
        elif probability < options.offset or self._silent:
            # Between the thresholds a silence goes on, but does not begin.
            self._silent += 1
            if self._silent >= options.endpoint:
                return [self._end(begin)]
            if self._silent == options.after:
                changes.append(Quiet(self._index))
        length = len(self._heard)
        if length >= options.longest:
            # A pause that could be waited out no longer ends it like any; otherwise it is cut, and speech goes on.
            return [self._end(begin) if self._silent >= options.after else self._cut(begin)]
        due = sum(length >= look for look in options.looks)
        if self._silent == 0 and due > self._due:
            self._due = due
            self._looks.append(length)
            changes.append(Look(self._index))
        return changes

    def _end(self, begin: int) -> Ended:
        speech_end = self._index - self._silent
        end = min(self._index, speech_end + self._options.after)
        ended = Ended(begin, end, speech_end, self._speech(self._heard[: end - begin]))
        self._floor, self._begin, self._silent, self._onset, self._heard = ended.end, None, 0, 0, []
        return ended

    def _cut(self, begin: int) -> Ended:
        """Cuts in the middle of the longest pause, else where speech is least likely."""
        length = len(self._heard)
        # What the last look but one did not hear cannot stand yet, and what stands is never behind the cut.
        low = max(length // 2, self._looks[-2] if len(self._looks) > 1 else 0)
        high = length - self._silent
        pause, at = 0, 0
        run = 0
        for position in range(low, high):
            run = run + 1 if self._heard[position] < self._options.offset else 0
            if run and run >= pause:
                pause, at = run, position + 1 - run // 2
        if not pause:
            at = min(range(low, high), key=lambda position: (self._heard[position], -position)) + 1
        heard, self._heard = self._heard[:at], self._heard[at:]
        ended = Ended(begin, begin + at, begin + at, self._speech(heard), cut=True)
        self._floor = self._begin = ended.end
        self._looks, self._due = [], 0
        return ended

    def _speech(self, heard: list[float]) -> int:
        return sum(probability >= self._options.offset for probability in heard)
