"""Logs of a worker: they bear the job's name."""

from __future__ import annotations

from typing import Any

from steno_api.worker.task import Task
from steno_runtime import logs


def configure(task: Task | None) -> None:
    """Sends every library's warnings and our own news to stderr."""
    fields: dict[str, Any] = {}
    if task is not None:
        fields = {"namespace": task.job.namespace, "job": task.job.name, "attempt": task.attempt}
    logs.configure(fields)
