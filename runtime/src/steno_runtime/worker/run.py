"""The steps of one attempt, in the order in which they can fail cheaply."""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from pathlib import Path

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import Task
from steno_api.worker.termination import Succeeded
from steno_runtime.errors import WorkError
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.storage import fetch, open_output
from steno_runtime.worker import publish
from steno_runtime.worker.signals import Stop
from steno_runtime.worker.work import Attempt, Work

log = logging.getLogger(__name__)

WRITTEN_SHARE = 0.8
"""Of the stage `Publishing`; the rest is handing the files over."""


def run(task: Task, work: Work, *, stop: Stop, on_progress: ProgressCallback) -> Succeeded:
    """Does the task: adopts what an earlier attempt published, or works and publishes.

    Raises:
        WorkError: with the reason, in words for the user.
        Stopped: the worker was told to stop.
    """
    started = time.monotonic()
    on_progress(ProgressUpdate(Stage.STARTING))
    _check_formats(task, work)
    output = open_output(task.output)
    manifest = publish.find_manifest(output, task)
    if manifest is not None:
        log.info("already published by an earlier attempt", extra={"by_attempt": manifest.attempt})
        return publish.succeeded(output, manifest)
    stop.check()
    output.check_writable()
    stop.check()
    scratch = Path(task.scratch_dir)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="attempt-", ignore_cleanup_errors=True) as folder:
        attempt = Attempt(
            task=task,
            check=stop.check,
            on_progress=on_progress,
            scratch=Path(folder),
            fetch=functools.cache(lambda share: _fetch(task, Path(folder), stop, on_progress, share)),
            seconds=lambda: time.monotonic() - started,
        )
        document = publish.find_document(output, work, attempt)
        if document is None:
            document = work.produce(attempt)
        else:
            log.info("an earlier attempt died while publishing; its document is taken over")
        stop.check()
        on_progress(ProgressUpdate(Stage.PUBLISHING))
        files = publish.write(work, document, attempt, share=WRITTEN_SHARE)
        stop.check()
        with stop.shield():
            on_progress(ProgressUpdate(Stage.PUBLISHING, WRITTEN_SHARE))
            manifest = publish.publish(output, work, document, files, attempt)
    log.info("published", extra={"manifest": f"{output.uri}/manifest.json", "seconds": time.monotonic() - started})
    return publish.succeeded(output, manifest)


def _check_formats(task: Task, work: Work) -> None:
    formats = task.output.formats
    unknown = [fmt for fmt in formats if fmt not in work.formats]
    if unknown or not formats:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"output.formats has {', '.join(unknown) or 'no format'}; choose from {', '.join(work.formats)}.",
        )


def _fetch(task: Task, folder: Path, stop: Stop, on_progress: ProgressCallback, share: float) -> Path:
    def on_bytes(received: int, total: int | None) -> None:
        on_progress(ProgressUpdate(Stage.FETCHING, share * received / total if total else 0.0))

    on_progress(ProgressUpdate(Stage.FETCHING))
    path = fetch(task.source, folder, check=stop.check, on_bytes=on_bytes)
    log.info("fetched", extra={"bytes": path.stat().st_size})
    return path
