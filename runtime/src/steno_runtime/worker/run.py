"""One attempt of a task, step by step; the steps that fail cheaply come first."""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from steno_api.documents.manifest import MANIFEST_NAME, AnySummary, Manifest
from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import Task
from steno_api.worker.termination import Succeeded
from steno_runtime.errors import WorkError
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.publishing import (
    PRIMARY_FORMAT,
    UNPROVEN,
    Document,
    ManifestHeader,
    Proofs,
    find_manifest,
    name_conflict,
    publish_or_adopt,
    write_formats,
)
from steno_runtime.storage import OutputDirectory, fetch, open_output
from steno_runtime.storage.common import redact
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.task_handler import AttemptContext, TaskHandler

log = logging.getLogger(__name__)

WRITTEN_SHARE = 0.8
"""Share of the stage `Publishing` that writing the files takes; the rest is for storing them."""


def run(
    task: Task,
    handler: TaskHandler,
    *,
    stop: StopRequest,
    on_progress: ProgressCallback,
    on_document: Callable[[AnySummary], object] = lambda _: None,
    proofs: Proofs = UNPROVEN,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    on_brief: Callable[[], object] = lambda: None,
) -> Succeeded:
    """Do a task: return what an earlier attempt published, or do the work and publish it.

    Args:
        task: what is to be done.
        handler: does the work.
        stop: ends the work early.
        on_progress: called with the progress.
        on_document: called with the summary of a document that this attempt made, not of one that it found.
        proofs: see `AttemptContext`.
        turn: see `AttemptContext`.
        on_brief: see `AttemptContext`.

    Raises:
        WorkError: with the reason, in words for the user.
        Stopped: the worker was asked to stop.
    """
    started = time.monotonic()
    on_progress(ProgressUpdate(Stage.STARTING))
    _check_formats(task, handler)
    output = open_output(task.output, task.egress)
    manifest = find_manifest(output, task.job.uid, proofs)
    if manifest is not None:
        log.info("already published by an earlier attempt", extra={"by_attempt": manifest.attempt})
        return succeeded(output, manifest)
    stop.check()
    output.check_writable()
    stop.check()
    scratch = Path(task.scratch_dir)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="attempt-", ignore_cleanup_errors=True) as folder:
        attempt = AttemptContext(
            task=task,
            check=stop.check,
            on_progress=on_progress,
            scratch=Path(folder),
            fetch=functools.cache(lambda share: _fetch(task, Path(folder), stop, on_progress, share)),
            seconds=lambda: time.monotonic() - started,
            proofs=proofs,
            turn=turn,
            on_brief=on_brief,
        )
        document = find_document(output, handler, attempt)
        if document is None:
            document = handler.run(attempt)
            on_document(document.summary())
        else:
            log.info("an earlier attempt ended while it published; its document is used")
        stop.check()
        on_progress(ProgressUpdate(Stage.PUBLISHING))
        document, files = write_files(handler, document, attempt, share=WRITTEN_SHARE)
        proofs.prepare()
        stop.check()
        with stop.shield():
            on_progress(ProgressUpdate(Stage.PUBLISHING, WRITTEN_SHARE))
            manifest = publish(output, handler, document, files, attempt)
    log.info("published", extra={"manifest": f"{output.uri}/{MANIFEST_NAME}", "seconds": time.monotonic() - started})
    return succeeded(output, manifest)


def find_document(output: OutputDirectory, handler: TaskHandler, attempt: AttemptContext) -> Document | None:
    """Return the document of an earlier attempt that ended while it published, if there is one.

    Args:
        output: where it would be.
        handler: knows its name and reads it.
        attempt: the present one.

    Raises:
        WorkError: `OutputForbidden`: its name is taken by something else; or what `output` raises; or it cannot be
            checked now.
    """
    if PRIMARY_FORMAT not in attempt.task.output.formats:
        return None
    name = handler.formats[PRIMARY_FORMAT].name
    data = output.read(name)
    if data is None:
        return None
    if not attempt.proofs.hold(output, name, data):
        raise name_conflict(output, name)
    return _load_existing(data, output, handler, attempt)


def write_files(
    handler: TaskHandler, document: Document, attempt: AttemptContext, *, share: float = 1.0
) -> tuple[Document, dict[str, Path]]:
    """Write every requested format to a file in the attempt's scratch directory.

    This may take long, and a stop ends it. The primary format is written last, so that it has the warnings of the
    formats that could not be made.

    Args:
        handler: knows the names of the files.
        document: what to write.
        attempt: the present one.
        share: of the stage `Publishing` that this takes.

    Returns:
        The document with those warnings, and the files that were written, the primary one first.

    Raises:
        WorkError: the document can have none of the formats, or not the primary one.
        Stopped: the worker was asked to stop.
    """
    formats = sorted(set(attempt.task.output.formats), key=lambda fmt: (fmt == PRIMARY_FORMAT, fmt))
    targets = {fmt: attempt.scratch / handler.formats[fmt].name for fmt in formats}
    written = 0

    def on_written() -> None:
        nonlocal written
        written += 1
        attempt.on_progress(ProgressUpdate(Stage.PUBLISHING, share * written / len(formats)))
        attempt.check()

    attempt.check()
    primary = {PRIMARY_FORMAT: targets.pop(PRIMARY_FORMAT)} if PRIMARY_FORMAT in targets else {}
    files, failures = write_formats(document, targets, allow_none=bool(primary), on_written=on_written)
    document = document.with_warnings(failures)
    first, _ = write_formats(document, primary, on_written=on_written)
    return document, first | files


def publish(
    output: OutputDirectory, handler: TaskHandler, document: Document, files: dict[str, Path], attempt: AttemptContext
) -> Manifest:
    """Publish the files of a document; return the manifest that is valid.

    Args:
        output: where to.
        handler: reads the document of another attempt, should there be one.
        document: what `files` were written from.
        files: what `write_files` returned.
        attempt: the present one.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    task = attempt.task
    return publish_or_adopt(
        output,
        ManifestHeader(task.job, task.attempt, task.tenant, redact(task.source.uri), task.metadata),
        document,
        files,
        formats=handler.formats,
        load_existing=lambda data: _load_existing(data, output, handler, attempt),
        proofs=attempt.proofs,
    )


def succeeded(output: OutputDirectory, manifest: Manifest) -> Succeeded:
    """Return the result for a published manifest."""
    return Succeeded(
        manifest=f"{output.uri}/{MANIFEST_NAME}",
        artifacts=manifest.artifacts,
        summary=manifest.summary,
        warnings=manifest.warnings,
    )


def _load_existing(data: bytes, output: OutputDirectory, handler: TaskHandler, attempt: AttemptContext) -> Document:
    try:
        return handler.load_existing(data, attempt)
    except ValueError as error:  # pydantic's are ValueErrors, too
        raise name_conflict(output, handler.formats[PRIMARY_FORMAT].name) from error


def _check_formats(task: Task, handler: TaskHandler) -> None:
    formats = task.output.formats
    unknown = [fmt for fmt in formats if fmt not in handler.formats]
    if unknown or not formats:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"output.formats has {', '.join(unknown) or 'no format'}; choose from {', '.join(handler.formats)}.",
        )


def _fetch(task: Task, folder: Path, stop: StopRequest, on_progress: ProgressCallback, share: float) -> Path:
    def on_bytes(received: int, total: int | None) -> None:
        on_progress(ProgressUpdate(Stage.FETCHING, share * received / total if total else 0.0))

    on_progress(ProgressUpdate(Stage.FETCHING))
    path = fetch(task.source, folder, check=stop.check, on_bytes=on_bytes, egress=task.egress)
    log.info("fetched", extra={"bytes": path.stat().st_size})
    return path
