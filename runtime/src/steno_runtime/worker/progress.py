"""From the stages of the work to one percentage that never falls, and the time that is left."""

from __future__ import annotations

from collections.abc import Mapping

from steno_api.report import Progress, Stage

ETA_MIN_SECONDS = 3.0
ETA_MIN_SHARE = 0.05
MAX_MESSAGE_CHARS = 200


class ProgressMeter:
    """Turns "stage, and how much of it" into `Progress`.

    `weights` say how long each stage takes, about, relative to the others.

    Whatever order stages come in, and however often, those behind us count as done; what stands in `percent` is only
    ever raised, and reaches 100 never: done is what the last word says.
    """

    def __init__(self, weights: Mapping[Stage, float], *, started: float) -> None:
        self._weights = weights
        self._total = sum(self._weights.values())
        self._done: set[Stage] = set()
        self._stage = Stage.STARTING
        self._share = 0.0
        self._started = started
        self._audio_seconds: float | None = None
        self._pages: int | None = None

    def update(
        self,
        stage: Stage,
        fraction: float,
        *,
        now: float,
        audio_seconds: float | None = None,
        pages: int | None = None,
        message: str | None = None,
    ) -> Progress:
        """Returns the progress at `fraction` (0 to 1) of `stage`; `now` and `started` are of one monotonic clock."""
        if stage is not self._stage:
            self._done.add(self._stage)
            self._stage = stage
        behind = sum(weight for known, weight in self._weights.items() if known in self._done and known is not stage)
        here = self._weights.get(stage, 0.0) * min(1.0, max(0.0, fraction))
        self._share = max(self._share, min(0.99, (behind + here) / self._total))
        if audio_seconds is not None:
            self._audio_seconds = max(audio_seconds, self._audio_seconds or 0.0)
        if pages is not None:
            self._pages = max(pages, self._pages or 0)
        return Progress(
            stage=stage,
            percent=int(self._share * 100),
            audio_seconds=self._audio_seconds,
            pages=self._pages,
            eta_seconds=self._eta(now),
            message=message[:MAX_MESSAGE_CHARS] if message else None,
        )

    def _eta(self, now: float) -> float | None:
        elapsed = now - self._started
        if elapsed < ETA_MIN_SECONDS or self._share < ETA_MIN_SHARE:
            return None
        return round(elapsed * (1 - self._share) / self._share, 1)
