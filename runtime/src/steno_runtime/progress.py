"""Progress of a piece of work: updates by stage, and the meter that turns them into one fraction.

Every pipeline calls a `ProgressCallback` with `ProgressUpdate`s. What shows them (the worker's reports, the server's
uploads, the client's progress bar) owns a `ProgressMeter`, so that all three agree on what a stage weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from steno_api.v1alpha1.job import Progress, Stage

ETA_MIN_SECONDS = 3.0
ETA_MIN_FRACTION = 0.05
MAX_FRACTION = 0.99
"""A meter never says that the work is done: only its result does."""
MAX_MESSAGE_CHARS = 200

_TRANSCRIPTION_WEIGHTS: Mapping[Stage, float] = {
    Stage.STARTING: 1,
    Stage.FETCHING: 5,
    Stage.LOADING_MODEL: 6,
    Stage.DETECTING_SPEECH: 6,
    Stage.DECODING: 60,
    Stage.ALIGNING: 4,
    Stage.DIARIZING: 16,
    Stage.PUBLISHING: 2,
}

OCR_WEIGHTS: Mapping[Stage, float] = {
    Stage.STARTING: 1,
    Stage.FETCHING: 5,
    Stage.RECOGNIZING: 84,
    Stage.PUBLISHING: 10,
}
"""Stages of reading a document, in order, and how long each takes relative to the others."""


@dataclass(frozen=True)
class ProgressUpdate:
    """How far one stage is.

    Attributes:
        stage: what is being done.
        fraction: how much of the stage is done, from 0 to 1.
        audio_seconds: seconds of audio decoded so far, where that is known.
        pages: pages read so far, where that is known.
        message: for people, such as `chunk 31 of 74`; never text of a transcript or document.
    """

    stage: Stage
    fraction: float = 0.0
    audio_seconds: float | None = None
    pages: int | None = None
    message: str | None = None


ProgressCallback = Callable[[ProgressUpdate], None]
"""Called before, during and after each stage; it must return quickly and not raise."""


def capped(on_progress: ProgressCallback, seconds: float) -> ProgressCallback:
    """Return a callback that is never told of more audio than a recording has: its channels may be decoded one by one.

    Args:
        on_progress: the callback behind it.
        seconds: of the recording.
    """

    def call(update: ProgressUpdate) -> None:
        if update.audio_seconds is not None and update.audio_seconds > seconds:
            update = replace(update, audio_seconds=seconds)
        on_progress(update)

    return call


def transcription_weights(*, diarize: bool) -> Mapping[Stage, float]:
    """Return the stages of a transcription, in order, and how long each takes relative to the others."""
    omitted = set[Stage]() if diarize else {Stage.DIARIZING}
    return {stage: weight for stage, weight in _TRANSCRIPTION_WEIGHTS.items() if stage not in omitted}


class ProgressMeter:
    """Combines the updates of all stages into one fraction that never falls, and an estimate of the time left.

    Stages may come in any order, and more than once: those that were seen, and those that come before the present one
    in the order of the weights, count as done.
    """

    def __init__(self, weights: Mapping[Stage, float], *, started: float = 0.0) -> None:
        """Start at zero.

        Args:
            weights: how long each stage takes relative to the others, in their usual order.
            started: when the work began, in seconds of the clock that `measure` is given.
        """
        self._weights = weights
        self._total = sum(weights.values())
        self._done: set[Stage] = set()
        self._stage = Stage.STARTING
        self._fraction = 0.0
        self._started = started
        self._audio_seconds: float | None = None
        self._pages: int | None = None

    def advance(self, update: ProgressUpdate) -> float:
        """Return the fraction of the whole work that is done, from 0 to `MAX_FRACTION`."""
        stage = update.stage
        if stage is not self._stage:
            self._done.add(self._stage)
            self._stage = stage
        done = self._done | self._before(stage)
        behind = sum(weight for each, weight in self._weights.items() if each in done and each is not stage)
        here = self._weights.get(stage, 0.0) * min(1.0, max(0.0, update.fraction))
        self._fraction = max(self._fraction, min(MAX_FRACTION, (behind + here) / self._total))
        return self._fraction

    def measure(self, update: ProgressUpdate, *, now: float) -> Progress:
        """Return the progress to report; `now` is in seconds of the clock that `started` was read from."""
        fraction = self.advance(update)
        if update.audio_seconds is not None:
            self._audio_seconds = max(update.audio_seconds, self._audio_seconds or 0.0)
        if update.pages is not None:
            self._pages = max(update.pages, self._pages or 0)
        return Progress(
            stage=update.stage,
            percent=int(fraction * 100),
            audio_seconds=self._audio_seconds,
            pages=self._pages,
            eta_seconds=self._eta(now),
            message=update.message[:MAX_MESSAGE_CHARS] if update.message else None,
        )

    def _before(self, stage: Stage) -> set[Stage]:
        order = list(self._weights)
        return set(order[: order.index(stage)]) if stage in self._weights else set()

    def _eta(self, now: float) -> float | None:
        elapsed = now - self._started
        if elapsed < ETA_MIN_SECONDS or self._fraction < ETA_MIN_FRACTION:
            return None
        return round(elapsed * (1 - self._fraction) / self._fraction, 1)
