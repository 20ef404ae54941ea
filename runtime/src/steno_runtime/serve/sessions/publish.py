"""Publishing a session: its transcript in every format requested, the manifest last, with retries."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from steno_api.documents.manifest import MANIFEST_NAME, Manifest
from steno_api.documents.transcript import Segment, Transcript
from steno_api.documents.warnings import ResultWarning, WarningReason, summarise_warnings
from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import PUBLISH_TIMEOUT_SECONDS, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolOutput, PoolTask
from steno_api.worker.task import EgressRules, TaskOutput
from steno_runtime.errors import WorkError, explain
from steno_runtime.publishing import (
    PRIMARY_FORMAT,
    UNPROVEN,
    Format,
    ManifestHeader,
    Proofs,
    artifact_failed,
    publish_under_free_names,
)
from steno_runtime.result_keys import ResultKeyClient
from steno_runtime.storage import OutputDirectory, open_output
from steno_runtime.stt.document import build_transcript, summarise
from steno_runtime.stt.pipeline import UNKNOWN_LANGUAGE, TranscriptionResult
from steno_runtime.stt.writers import FILE_NAMES, MEDIA_TYPES, WRITERS

log = logging.getLogger(__name__)

PUBLISHING_THREADS = 4
KEY_WAIT_SECONDS = 5.0
"""For an operator that is away, before a transcript is published without proofs: less than a drain has time."""
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 30.0
_FORMATS = {fmt: Format(FILE_NAMES[fmt], MEDIA_TYPES[fmt]) for fmt in WRITERS}


@dataclass(frozen=True)
class SessionRecord:
    """What is known of a session when it ends."""

    claims: SessionClaims
    segments: Sequence[Segment]
    duration: float
    """Seconds of audio."""
    seconds: float
    """From the first connection to the last final."""
    language: str | None
    model: str
    device: str
    warnings: tuple[ResultWarning, ...] = ()
    """What of the audio could not be read."""


def _transcript(record: SessionRecord) -> Transcript:
    """Return the document of a session, the same as that of a recording."""
    words = [word.confidence for segment in record.segments for word in segment.words]
    result = TranscriptionResult(
        segments=tuple(record.segments),
        language=record.language or UNKNOWN_LANGUAGE,
        duration=round(record.duration, 3),
        confidence=round(sum(words) / len(words), 4) if words else 0.0,
        device=record.device,
        model=record.model,
        has_diarization=False,
        warnings=_warnings(record),
    )
    return build_transcript(
        result,
        meeting_id=record.claims.meeting_id,
        tenant_id=record.claims.tenant,
        processing_time=record.seconds,
        metadata=record.claims.metadata,
    )


def _warnings(record: SessionRecord) -> tuple[ResultWarning, ...]:
    return (*record.warnings, *_no_speech(record))


def _no_speech(record: SessionRecord) -> list[ResultWarning]:
    if record.segments or not record.duration:
        return []
    message = "No speech was found in the audio of this session. Check the client's microphone, and its sample rate."
    return [ResultWarning(reason=WarningReason.NO_SPEECH, message=message, start=0.0, end=round(record.duration, 3))]


def open_session_output(claims: SessionClaims, place: PoolOutput, egress: EgressRules | None = None) -> OutputDirectory:
    """Open the directory that a session's results go to.

    Args:
        claims: say which.
        place: how its store is reached.
        egress: networks that it may be on; None: all that are not always denied.

    Raises:
        WorkError: `InvalidSpec`: servers of a pool write to object stores only.
    """
    uri = (claims.output_uri or "").rstrip("/")
    if not uri.lower().startswith("s3://"):
        raise WorkError(FailureReason.INVALID_SPEC, "output.uri of a StreamSession must begin with s3://.")
    return open_output(
        TaskOutput(
            uri=uri,
            endpointURL=place.endpoint_url,
            region=place.region,
            credentials_dir=place.credentials_dir,
            formats=[fmt.value for fmt in claims.formats],
        ),
        egress,
    )


def publish_session(output: OutputDirectory, record: SessionRecord, proofs: Proofs = UNPROVEN) -> Manifest:
    """Publish a session; return its manifest, which may be one that was published before.

    Args:
        output: the session's directory.
        record: the session.
        proofs: of its results.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound`, `OutputUnavailable` or `InvalidSpec`.
    """
    claims = record.claims
    transcript = _transcript(record)
    header = ManifestHeader(
        job=_reference(claims),
        attempt=1,
        tenant=claims.tenant,
        source_uri=f"stream://{claims.sub}",
        metadata=claims.metadata,
    )
    contents, warnings = _contents(transcript, [fmt.value for fmt in claims.formats])
    summary = summarise(transcript, record.device)
    return publish_under_free_names(
        output, header, contents, formats=_FORMATS, summary=summary, warnings=warnings, proofs=proofs
    )


def _reference(claims: SessionClaims) -> ObjectRef:
    return ObjectRef(namespace=claims.namespace, name=claims.name, uid=claims.uid)


def _contents(transcript: Transcript, formats: Sequence[str]) -> tuple[dict[str, bytes], Sequence[ResultWarning]]:
    """Return the transcript in each format that can be made, the primary one last, and its warnings."""
    contents: dict[str, bytes] = {}
    failures: list[WorkError] = []
    for fmt in sorted(formats, key=lambda fmt: fmt == PRIMARY_FORMAT):
        try:
            contents[fmt] = WRITERS[fmt](transcript)
        except MemoryError:
            raise
        except Exception as error:
            log.exception("a format could not be made", extra={"format": fmt})
            failures.append(explain(error, f"Writing {fmt}", remedy=""))
            warnings = [*transcript.warnings, artifact_failed(fmt, failures[-1])]
            transcript = transcript.model_copy(update={"warnings": warnings})
    if failures and not contents:
        raise failures[0]
    return contents, transcript.warnings


class SessionPublisher:
    """Publishes the sessions of a server in threads of its own, and retries while the store is unavailable."""

    def __init__(self, task: PoolTask) -> None:
        """Take the task of the pool, which says where transcripts go."""
        self._task, self._place, self._egress = task, task.output, task.egress
        self._threads = ThreadPoolExecutor(PUBLISHING_THREADS, thread_name_prefix="publish")

    async def publish(self, record: SessionRecord) -> SessionResult:
        """Publish a session if it has an output; return the result, of which a failure is part."""
        known = summarise_warnings(_warnings(record))
        result = SessionResult(reason=SessionEnd.DRAINED, time=datetime.now(UTC), warnings=known)
        claims, place = record.claims, self._place
        if claims.output_uri is None or place is None:
            return result
        loop = asyncio.get_running_loop()
        deadline, tries = loop.time() + PUBLISH_TIMEOUT_SECONDS, 0
        proofs = self._proofs(claims)
        while True:
            tries += 1
            try:
                output = await loop.run_in_executor(self._threads, open_session_output, claims, place, self._egress)
                manifest = await loop.run_in_executor(self._threads, publish_session, output, record, proofs)
            except WorkError as error:
                log.warning("publishing failed", extra={"session": claims.sub, "reason": error.reason, "tries": tries})
                if error.reason is not FailureReason.OUTPUT_UNAVAILABLE or loop.time() > deadline:
                    return result.model_copy(update={"failure": error.reason, "message": error.message[:1000]})
            except Exception as error:  # noqa: BLE001
                log.error("publishing failed", extra={"session": claims.sub, "error": type(error).__name__})  # noqa: TRY400
                failure = explain(error, "Publishing", remedy="Give the pool's RuntimeProfile more memory.")
                return result.model_copy(update={"failure": failure.reason, "message": failure.message})
            else:
                uri = f"{output.uri}/{MANIFEST_NAME}"
                published = {"manifest": uri, "artifacts": manifest.artifacts, "warnings": manifest.warnings}
                return result.model_copy(update=published)
            pause = min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2 ** (tries - 1))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (spreads load; not a secret)

    def _proofs(self, claims: SessionClaims) -> Proofs:
        where, task = claims.output_uri or "", self._task
        return Proofs(
            ResultKeyClient(
                task.reporting, _reference(claims), where=where, pool=task.pool, wait_seconds=KEY_WAIT_SECONDS
            )
        )
