"""Transcription of uploads: recordings, decoded beside the live sessions by the same warm model."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check
from steno_runtime.media.tracks import Selection
from steno_runtime.progress import ProgressCallback, ProgressUpdate, capped
from steno_runtime.serve.uploads.allowed_sources import AllowedSources
from steno_runtime.serve.uploads.job_queue import Job, JobFunction
from steno_runtime.serve.uploads.service import Languages, Name, RequestFields, UploadService
from steno_runtime.stt.channels import merge_channels
from steno_runtime.stt.diarization import COMMUNITY_NAME, EMBEDDING, ENCODER_FILE, has_speaker_models
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.languages import match_language
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe
from steno_runtime.stt.writers import FILE_NAMES, WRITERS

if TYPE_CHECKING:
    from steno_runtime.stream.engine import StreamEngine

MAX_SECONDS = 3600.0
"""Of audio; as the original engine."""

Speakers = Annotated[int, Field(ge=1, le=64)]


class TranscriptionFields(RequestFields):
    """The fields of a recording that is uploaded."""

    meeting_id: Name | None = None
    language: Annotated[str, Field(max_length=16)] = "auto"
    languages: Languages = ()
    """The only ones that may be detected; empty: all that the model knows."""
    channels: Literal["mix", "split"] = "mix"
    """`split`: each channel is a speaker, and no others are distinguished."""
    diarize: bool = True
    """Whether speakers are distinguished, as the original engine always did."""
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None


class TranscriptionUrlFields(TranscriptionFields):
    """The fields of a recording that the server fetches."""

    audio_url: Annotated[str, Field(max_length=4096)]


class TranscriptionService:
    """Queues recordings."""

    def __init__(
        self, task: PoolTask, uploads: UploadService, sources: AllowedSources, *, hf_token: str | None = None
    ) -> None:
        self._options = TranscriptionOptions.from_task(task, hf_token=hf_token)
        self._uploads = uploads
        self._sources = sources

    def submit_file(self, fields: TranscriptionFields, claims: SessionClaims, folder: Path, file: Path) -> Job:
        """Queue a recording that was uploaded.

        Args:
            fields: of the request.
            claims: whose job it is.
            folder: reserved for the job.
            file: the recording, in `folder`.

        Raises:
            ApiError: `LanguageUnknown`, `InvalidRequest`, `ModelNotFound`, `QueueFull` or `Draining`.
        """
        return self._submit(fields, claims, folder, lambda *_: file)

    def submit_url(self, fields: TranscriptionUrlFields, claims: SessionClaims, folder: Path) -> Job:
        """Queue a recording that is fetched from the URL it names.

        Args:
            fields: of the request.
            claims: whose job it is.
            folder: reserved for the job.

        Raises:
            ApiError: as `submit_file`, or `SourceNotAllowed`.
        """
        self._sources.check(fields.audio_url)

        def fetch(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            def on_bytes(received: int, total: int | None) -> None:
                on_progress(ProgressUpdate(Stage.FETCHING, received / total if total else 0.0))

            return self._sources.fetch(fields.audio_url, folder, check=check, on_bytes=on_bytes)

        return self._submit(fields, claims, folder, fetch)

    def _submit(self, fields: TranscriptionFields, claims: SessionClaims, folder: Path, source: JobFunction) -> Job:
        engine = self._uploads.readiness.require_engine()
        known = engine.batch_engine.languages
        unknown = [one for one in fields.languages if match_language(one, known) is None]
        if unknown or (fields.language != "auto" and match_language(fields.language, known) is None):
            message = f"The model does not know this language; it knows {', '.join(sorted(known))}."
            raise ApiError(ErrorCode.LANGUAGE_UNKNOWN, message)
        if fields.language != "auto" and fields.languages:
            raise ApiError(ErrorCode.INVALID_REQUEST, "languages restricts what is detected: leave language out.")
        _check_speakers(fields, self._options)

        def transcribe_source(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            started = time.monotonic()
            file = source(folder, on_progress, check)
            result = _transcribe(self._options, engine, file, fields, on_progress=on_progress, check=check)
            transcript = build_transcript(
                result,
                meeting_id=fields.meeting_id or str(uuid.uuid4()),
                tenant_id=claims.tenant,
                processing_time=time.monotonic() - started,
                metadata=claims.metadata,
            )
            target = folder / FILE_NAMES["json"]
            target.write_bytes(WRITERS["json"](transcript))
            return target

        return self._uploads.queue.submit("stt", claims, folder, transcribe_source)


def _check_speakers(fields: TranscriptionFields, options: TranscriptionOptions) -> None:
    """Reject, with the names of the request's fields and before the job is queued, what the pipeline would reject."""
    if fields.min_speakers and fields.max_speakers and fields.min_speakers > fields.max_speakers:
        raise ApiError(ErrorCode.INVALID_REQUEST, "min_speakers is more than max_speakers.")
    if fields.channels == "split" and (fields.min_speakers or fields.max_speakers):
        message = "With channels=split each channel is a speaker: leave min_speakers and max_speakers out."
        raise ApiError(ErrorCode.INVALID_REQUEST, message)
    has_models = options.hf_token is not None or has_speaker_models(options.model_store)
    if fields.diarize and fields.channels != "split" and not has_models:
        raise ApiError(
            failure_status(FailureReason.MODEL_NOT_FOUND),
            "Speakers cannot be distinguished here: the server's model store has no speaker models. Send "
            f"diarize=false, or put {EMBEDDING}/{ENCODER_FILE} or {COMMUNITY_NAME} there.",
        )


def _transcribe(
    options: TranscriptionOptions,
    engine: StreamEngine,
    file: Path,
    fields: TranscriptionFields,
    *,
    on_progress: ProgressCallback,
    check: Check,
) -> TranscriptionResult:
    from steno_runtime.media.sandboxed import read_recording_sandboxed

    warnings: list[ResultWarning] = []
    selection = Selection(split=fields.channels == "split")
    recording = read_recording_sandboxed(
        file, check=check, on_warning=warnings.append, selection=selection, max_seconds=MAX_SECONDS
    )
    options = replace(
        options,
        language=None if fields.language == "auto" else fields.language,
        languages=fields.languages,
        diarize=fields.diarize and not selection.split,
        min_speakers=fields.min_speakers,
        max_speakers=fields.max_speakers,
        speaker_threads=max(1, available_cores() // 4),  # live speech comes first
    )
    result = transcribe(
        recording.samples,
        options,
        on_progress=capped(on_progress, recording.duration),
        check=check,
        engine=engine.batch_engine,
        source_warnings=warnings,
    )
    on_progress(ProgressUpdate(Stage.PUBLISHING, audio_seconds=recording.duration))  # all of it, silence included
    return merge_channels(result, recording)
