"""Publishes results once, whoever else may be publishing the same.

Two workers can be at it at once: an attempt on a node that was lost from sight runs on while the next one has begun.
Both write the same names in the same directory (one per resource UID). What makes any order of their steps end well:

- Every object is created only if it does not exist, and never overwritten. So a digest, once true, stays true.
- Who finds an artifact there takes that one into its manifest, with the digest of the bytes that stand.
- The primary format (`json`), if asked for, is first, and the other formats are made from the one that stands: all
  formats of a result tell the same, though two runs of a model on two machines seldom agree to the letter.
- The manifest is last. Who finds one of its own UID reports that one.

It follows that a worker that finds the document of a predecessor that died while publishing need not work again.
Without `json` among the formats, the others may stem from two attempts; their digests are right all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from steno_api.documents.manifest import MANIFEST_NAME, Manifest, PublishedArtifact
from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import Task
from steno_api.worker.termination import Succeeded
from steno_runtime.progress import ProgressUpdate
from steno_runtime.storage import Output, once
from steno_runtime.storage.common import redact
from steno_runtime.worker.work import PRIMARY, Attempt, Document, Work


def find_manifest(output: Output, task: Task) -> Manifest | None:
    """Returns the manifest that an earlier attempt of this very job published, if one did.

    Raises:
        WorkError: `OutputForbidden`: something else has the manifest's name; or what `output` raises.
    """
    return once.find_manifest(output, task.job.uid)


def find_document(output: Output, work: Work, attempt: Attempt) -> Document | None:
    """Returns the document of an earlier attempt that died while it published, if there is one.

    Raises:
        WorkError: `OutputForbidden`: something else has its name; or what `output` raises.
    """
    if PRIMARY not in attempt.task.output.formats:
        return None
    data = output.read(work.formats[PRIMARY].name)
    return None if data is None else _own_document(data, output, work, attempt)


def write(work: Work, document: Document, attempt: Attempt, *, share: float = 1.0) -> dict[str, Path]:
    """Writes every format asked for to a file of the attempt's scratch directory, the primary one first.

    This may take long, and a stop ends it; `share` of the stage `Publishing` is what it is told as.

    Raises:
        WorkError: the document cannot be had in a format.
        Stopped: the worker was told to stop.
    """
    files: dict[str, Path] = {}
    formats = sorted(set(attempt.task.output.formats), key=lambda fmt: (fmt != PRIMARY, fmt))
    for number, fmt in enumerate(formats, 1):
        attempt.check()
        files[fmt] = attempt.scratch / work.formats[fmt].name
        document.write(fmt, files[fmt])
        attempt.on_progress(ProgressUpdate(Stage.PUBLISHING, share * number / len(formats)))
    return files


def publish(output: Output, work: Work, document: Document, files: Mapping[str, Path], attempt: Attempt) -> Manifest:
    """Publishes every file, then the manifest; returns the manifest that stands. One file at a time is in memory.

    Args:
        output: where to.
        work: the kind of work.
        document: what `files` were written from.
        files: what `write` returned.
        attempt: has the task, and lends its scratch directory should another's document be found and written anew.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    task = attempt.task
    artifacts: list[PublishedArtifact] = []
    for fmt, file in files.items():
        name, written = work.formats[fmt].name, file.read_bytes()
        data = once.write_once(output, name, written, work.formats[fmt].content_type)
        if data != written and fmt == PRIMARY:
            document = _own_document(data, output, work, attempt)
            for other in files.keys() - {PRIMARY}:
                document.write(other, files[other])
        artifacts.append(once.artifact(fmt, name, data))
    manifest = Manifest(
        job=task.job,
        attempt=task.attempt,
        tenant=task.tenant,
        created_at=datetime.now(UTC),
        source_uri=redact(task.source.uri),
        artifacts=artifacts,
        summary=document.summary(),
    )
    return once.seal(output, manifest)


def succeeded(output: Output, manifest: Manifest) -> Succeeded:
    """Returns the last word for a published manifest."""
    return Succeeded(manifest=f"{output.uri}/{MANIFEST_NAME}", artifacts=manifest.artifacts, summary=manifest.summary)


def _own_document(data: bytes, output: Output, work: Work, attempt: Attempt) -> Document:
    try:
        return work.adopt(data, attempt)
    except ValueError as error:  # pydantic's, too
        raise once.in_the_way(output, work.formats[PRIMARY].name) from error
