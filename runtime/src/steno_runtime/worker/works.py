"""The kinds of work there are. A new kind is one more entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steno_api.worker.task import OCRTask, Task, TranscriptionTask
from steno_runtime.worker.recognition import Recognition
from steno_runtime.worker.transcription import Transcription
from steno_runtime.worker.work import Work

_WORKS: dict[type[Task], Callable[[Any], Work]] = {TranscriptionTask: Transcription, OCRTask: Recognition}


def work_of(task: Task) -> Work:
    """Returns the work that a task asks for."""
    return _WORKS[type(task)](task)
