"""Metering of work: recordings decoded and pages read, counted for each process that did them.

What a process says only grows, and a record keeps the most that each has said; so it may be said often, late and in any
order, and counts once. A retry is another process: what it does again counts again, and documents that it finds do not.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steno_api.documents.manifest import MAX_AUDIO_SECONDS, MAX_COUNT, MAX_PAGES
from steno_api.model import Model

MAX_WORK_MILLIS = 366 * 24 * 3_600_000
"""Milliseconds of audio that one process may claim: a server does more in a day than one result may have."""
MAX_WORK_PAGES = 100_000_000
"""Pages that one process may claim."""

MAX_PROCESSES = 16
"""That a record lists; of earlier ones it has the sum."""

ProcessID = Annotated[str, Field(max_length=80)]
"""When a process began and what it is, so that later ones sort after earlier ones."""


class Work(Model):
    """What one process has done, whatever became of it."""

    audio_millis: int = Field(default=0, ge=0, le=MAX_WORK_MILLIS)
    """Milliseconds of audio that were decoded, at most the recordings' length."""
    pages: int = Field(default=0, ge=0, le=MAX_WORK_PAGES)
    """Pages that were read, or could not be."""

    @classmethod
    def of(cls, audio_seconds: float | None, pages: int | None) -> Work:
        """Return the work that progress or a summary tells of; more than can be counts as the most that can."""
        millis = round(min(MAX_WORK_MILLIS / 1000, max(0.0, audio_seconds or 0.0)) * 1000)  # no number is zero
        return cls(audio_millis=millis, pages=min(MAX_WORK_PAGES, max(0, pages or 0)))

    def of_one_result(self) -> Work:
        """Return at most what one result may have."""
        return Work(audio_millis=min(self.audio_millis, MAX_AUDIO_SECONDS * 1000), pages=min(self.pages, MAX_PAGES))

    def plus(self, other: Work) -> Work:
        """Return the sum, at most what can be claimed."""
        return Work(
            audio_millis=min(MAX_WORK_MILLIS, self.audio_millis + other.audio_millis),
            pages=min(MAX_WORK_PAGES, self.pages + other.pages),
        )

    def union(self, other: Work) -> Work:
        """Return the most that is said of the work of one process."""
        return Work(
            audio_millis=max(self.audio_millis, other.audio_millis),
            pages=max(self.pages, other.pages),
        )


class ProcessWork(Work):
    """The work of one process."""

    process: ProcessID
    """The worker's pod, or the run of a server."""


class WorkRecord(Model):
    """What was done for a resource, by all processes."""

    audio_millis: int = Field(default=0, ge=0, le=MAX_COUNT)
    """Milliseconds of audio that were decoded, by all."""
    pages: int = Field(default=0, ge=0, le=MAX_COUNT)
    """Pages that were read, by all."""
    processes: Annotated[list[ProcessWork], Field(max_length=MAX_PROCESSES)] = Field(default_factory=list[ProcessWork])
    """The latest of those that did any of it."""
    until: ProcessID | None = None
    """The last process that is no longer listed: nothing that it or an earlier one says is added any more."""
