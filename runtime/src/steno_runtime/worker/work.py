"""What differs from one kind of work to another; the steps of an attempt and publishing are the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steno_api.documents.manifest import AnySummary
from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import Task
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback

PRIMARY = "json"
"""The format with all that is known: the other formats can be made from it, by another attempt too."""


@dataclass(frozen=True)
class Format:
    """How a format is published."""

    name: str
    content_type: str


@dataclass(frozen=True)
class Attempt:
    """What an attempt lends to its work.

    Attributes:
        task: what it is to do.
        check: raises `Stopped` once the worker was told to stop; called between pieces of work.
        on_progress: takes the progress.
        scratch: a directory of this attempt alone, which exists, and is removed at its end.
        fetch: returns a local file with the source's bytes, fetched once; takes the share of the stage `Fetching`
            that this is.
        seconds: returns the seconds since the attempt's start.
    """

    task: Task
    check: Check
    on_progress: ProgressCallback
    scratch: Path
    fetch: Callable[[float], Path]
    seconds: Callable[[], float]


class Document(Protocol):
    """What came of the work, from this attempt or an earlier one: enough to write every format."""

    def write(self, fmt: str, target: Path) -> None:
        """Writes a format to a file.

        Raises:
            WorkError: this document cannot be had in that format.
        """
        ...

    def summary(self) -> AnySummary:
        """Returns its figures."""
        ...


class Work(Protocol):
    """A kind of work, for one task."""

    @property
    def formats(self) -> Mapping[str, Format]:
        """Every format there is; `PRIMARY` is one of them."""
        ...

    @property
    def weights(self) -> Mapping[Stage, float]:
        """How long each stage takes, about, relative to the others; stages that this work has not are absent."""
        ...

    @property
    def relief(self) -> str:
        """What a user can do when the memory is too small, as the end of a sentence."""
        ...

    def produce(self, attempt: Attempt) -> Document:
        """Does the work.

        Raises:
            WorkError: it failed.
            Stopped: the worker was told to stop.
        """
        ...

    def adopt(self, data: bytes, attempt: Attempt) -> Document:
        """Reads what an attempt of this job published in the primary format.

        Raises:
            ValueError: it is not of this job.
        """
        ...
