"""Publishes results once, whoever else may be publishing the same.

Two workers can be at it at once: an attempt on a node that was lost from sight runs on while the next one has begun.
Both write the same names in the same directory (one per resource UID). What makes any order of their steps end well:

- Every object is created only if it does not exist, and never overwritten. So a digest, once true, stays true.
- Who finds an artifact there takes that one into its manifest, with the digest of the bytes that stand.
- `transcript.json`, if asked for, is first, and the other formats are made from the one that stands: all formats of a
  result tell the same, though two runs of a model on two machines seldom agree to the letter.
- The manifest is last. Who finds one of its own UID reports that one.

It follows that a worker that finds the transcript of a predecessor that died while publishing needs no decoding.
Without `json` among the formats, srt, vtt and txt may stem from two attempts; their digests are right all the same.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.manifest import MANIFEST_NAME, Manifest
from steno_api.report import PublishedArtifact, Succeeded, Summary
from steno_api.task import TranscriptionTask
from steno_api.transcript import Transcript
from steno_runtime.errors import WorkError
from steno_runtime.storage import Output
from steno_runtime.storage.common import redact

log = logging.getLogger(__name__)

CONTENT_TYPES = {
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}


def artifact_name(fmt: str) -> str:
    """Returns the name that a format is published under."""
    return f"transcript.{fmt}"


def find_manifest(output: Output, task: TranscriptionTask) -> Manifest | None:
    """Returns the manifest that an earlier attempt of this very job published, if one did.

    Raises:
        WorkError: `OutputForbidden`: something else has the manifest's name; or what `output` raises.
    """
    data = output.read(MANIFEST_NAME)
    return None if data is None else _own_manifest(data, output, task)


def find_transcript(output: Output, task: TranscriptionTask) -> Transcript | None:
    """Returns the transcript of an earlier attempt that died while it published, if there is one.

    Raises:
        WorkError: `OutputForbidden`: something else has its name; or what `output` raises.
    """
    if "json" not in task.output.formats:
        return None
    data = output.read(artifact_name("json"))
    return None if data is None else _own_transcript(data, output, task)


def publish(output: Output, task: TranscriptionTask, transcript: Transcript, device: str) -> Manifest:
    """Writes every format, then the manifest; returns the manifest that stands.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    from steno_runtime.stt.writers import WRITERS

    artifacts: list[PublishedArtifact] = []
    for fmt in sorted(set(task.output.formats), key=lambda fmt: (fmt != "json", fmt)):
        name = artifact_name(fmt)
        written = WRITERS[fmt](transcript)
        data = _write_once(output, name, written, CONTENT_TYPES[fmt])
        if data != written and fmt == "json":
            transcript, device = _own_transcript(data, output, task), "unknown"
        artifacts.append(
            PublishedArtifact(format=fmt, name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        )
    manifest = Manifest(
        job=task.job,
        attempt=task.attempt,
        tenant=task.tenant,
        created_at=datetime.now(UTC),
        source_uri=redact(task.source.uri),
        artifacts=artifacts,
        summary=summarize(transcript, device),
    )
    data = _write_once(output, MANIFEST_NAME, manifest.to_json().encode(), CONTENT_TYPES["json"])
    output.tidy()
    return _own_manifest(data, output, task)


def succeeded(output: Output, manifest: Manifest) -> Succeeded:
    """Returns the last word for a published manifest."""
    return Succeeded(manifest=f"{output.uri}/{MANIFEST_NAME}", artifacts=manifest.artifacts, summary=manifest.summary)


def summarize(transcript: Transcript, device: str) -> Summary:
    """Returns the figures of `transcript`."""
    seconds = transcript.processing_time
    return Summary(
        duration=transcript.duration,
        language=transcript.language,
        segments=transcript.total_segments,
        speakers=transcript.total_speakers,
        words=sum(len(segment.words) or len(segment.text.split()) for segment in transcript.segments),
        confidence=transcript.confidence,
        processing_seconds=seconds,
        speed=round(transcript.duration / seconds, 2) if seconds > 0 else 0.0,
        model=transcript.model,
        device=device,
    )


def _write_once(output: Output, name: str, data: bytes, content_type: str) -> bytes:
    """Returns the bytes that stand under `name` from now on: `data`, or what was there before."""
    # Looking first is for stores that know no conditional writes, where `create` would overwrite.
    standing = output.read(name)
    if standing is None:
        if output.create(name, data, content_type):
            return data
        standing = output.read(name)
    if standing is None:
        raise WorkError(
            FailureReason.OUTPUT_FORBIDDEN,
            f"{output.uri}/{name} exists but cannot be read back. "
            "Allow the output's credentials to read (s3:GetObject).",
        )
    if standing != data:
        log.info("taking over what another attempt published", extra={"artifact": name})
    return standing


def _own_manifest(data: bytes, output: Output, task: TranscriptionTask) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise _in_the_way(output, MANIFEST_NAME) from error
    if manifest.job.uid != task.job.uid:
        raise _in_the_way(output, MANIFEST_NAME)
    return manifest


def _own_transcript(data: bytes, output: Output, task: TranscriptionTask) -> Transcript:
    name = artifact_name("json")
    try:
        transcript = Transcript.model_validate_json(data)
    except ValidationError as error:
        raise _in_the_way(output, name) from error
    if transcript.meeting_id != task.meeting_id:
        raise _in_the_way(output, name)
    return transcript


def _in_the_way(output: Output, name: str) -> WorkError:
    return WorkError(
        FailureReason.OUTPUT_FORBIDDEN,
        f"{output.uri}/{name} exists already and is not a result of this job; it is not overwritten. "
        "Remove it, or choose another output.uri.",
    )
