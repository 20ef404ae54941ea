"""`POST /stt/upload` and `/stt/process`: recordings, transcribed beside the live sessions by the same warm model."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steno_api.failures import FailureReason
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.serve.errors import Code, Refusal, answer_to
from steno_runtime.serve.uploads.allowed_sources import Sources
from steno_runtime.serve.uploads.body import read_form, read_json
from steno_runtime.serve.uploads.job_queue import Work
from steno_runtime.serve.uploads.service import Desk, Name, Wish, read
from steno_runtime.stt.diarization import EMBEDDING, ENCODER_FILE, has_encoder
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import Result, transcribe
from steno_runtime.stt.writers import FILE_NAMES, WRITERS

if TYPE_CHECKING:
    from steno_runtime.stream.engine import StreamEngine

MAX_SECONDS = 3600.0
"""As the original engine."""


Speakers = Annotated[int, Field(ge=1, le=64)]


class Upload(Wish):
    """The fields of an upload."""

    meeting_id: Name | None = None
    language: Annotated[str, Field(max_length=16)] = "auto"
    diarize: bool = True
    """Whether speakers are told apart, as the original engine always did."""
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None


class Process(Upload):
    """The body of `/stt/process`."""

    audio_url: Annotated[str, Field(max_length=4096)]


class SpeechRest:
    """The endpoints."""

    def __init__(self, task: PoolTask, desk: Desk, sources: Sources) -> None:
        self._task = task
        self._desk = desk
        self._sources = sources

    async def upload(self, request: Request) -> Response:
        """`POST /stt/upload`."""
        claims = self._desk.admit(request)
        async with self._desk.jobs.folder() as folder:
            form = await read_form(request, folder)
            wish = read(Upload, dict(form.fields))
            claims = self._desk.access.check(claims, tenant=wish.tenant_id)
            work = self._work(wish, claims.tenant, lambda *_: form.file)
            job = self._desk.jobs.submit("stt", claims.tenant, folder, work)
        return await self._desk.answer(request, job)

    async def process(self, request: Request) -> Response:
        """`POST /stt/process`."""
        claims = self._desk.admit(request)
        wish = read(Process, await read_json(request))
        claims = self._desk.access.check(claims, tenant=wish.tenant_id)
        self._sources.check(wish.audio_url)
        sources = self._sources

        def fetch(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            def on_bytes(received: int, total: int | None) -> None:
                on_progress(ProgressUpdate(Stage.FETCHING, received / total if total else 0.0))

            return sources.fetch(wish.audio_url, folder, check=check, on_bytes=on_bytes)

        async with self._desk.jobs.folder() as folder:
            job = self._desk.jobs.submit("stt", claims.tenant, folder, self._work(wish, claims.tenant, fetch))
        return await self._desk.answer(request, job)

    def _work(self, wish: Upload, tenant: str, source: Work) -> Work:
        engine = self._desk.registry.check_open()
        known = engine.engine.languages
        if wish.language != "auto" and wish.language not in known:
            raise Refusal(
                Code.LANGUAGE_UNKNOWN, f"The model does not know this language; it knows {', '.join(sorted(known))}."
            )
        _check_speakers(wish, Path(self._task.model_store))

        def work(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            started = time.monotonic()
            file = source(folder, on_progress, check)
            result = _transcribe(self._task, engine, file, wish, on_progress=on_progress, check=check)
            transcript = build_transcript(
                result,
                meeting_id=wish.meeting_id or str(uuid.uuid4()),
                tenant_id=tenant,
                processing_time=time.monotonic() - started,
            )
            target = folder / FILE_NAMES["json"]
            target.write_bytes(WRITERS["json"](transcript))
            return target

        return work


def _check_speakers(wish: Upload, store: Path) -> None:
    """Refuses in the words of REST, and before it takes a place, what the pipeline would refuse."""
    if wish.min_speakers and wish.max_speakers and wish.min_speakers > wish.max_speakers:
        raise Refusal(Code.INVALID_REQUEST, "min_speakers is more than max_speakers.")
    if wish.diarize and not has_encoder(store):
        raise Refusal(
            answer_to(FailureReason.MODEL_NOT_FOUND),
            "Speakers cannot be told apart here: the pool's model store has no speaker encoder. Send diarize=false, or "
            f"put {EMBEDDING}/{ENCODER_FILE} there.",
        )


def _transcribe(
    task: PoolTask, engine: StreamEngine, file: Path, wish: Upload, *, on_progress: ProgressCallback, check: Check
) -> Result:
    from steno_runtime.media.audio import read_audio

    samples = read_audio(file, check=check, max_seconds=MAX_SECONDS)
    options = replace(
        TranscriptionOptions.from_task(task),
        language=None if wish.language == "auto" else wish.language,
        diarize=wish.diarize,
        min_speakers=wish.min_speakers,
        max_speakers=wish.max_speakers,
        speaker_threads=max(1, available_cores() // 4),  # live speech comes first
    )
    return transcribe(samples, options, on_progress=on_progress, check=check, engine=engine.engine)
