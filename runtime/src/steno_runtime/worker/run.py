"""The steps of one attempt, in the order in which they can fail cheaply."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steno_api.failures import FailureReason
from steno_api.report import Stage, Succeeded
from steno_api.task import TranscriptionTask
from steno_api.transcript import Transcript
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch, open_output
from steno_runtime.worker import publish
from steno_runtime.worker.signals import Stop

log = logging.getLogger(__name__)

OnProgress = Callable[[Stage, float, dict[str, Any] | None], None]
"""Stage, how much of it is done (0 to 1), and, as they are known, `audio_seconds` and `message`."""

FETCHED_SHARE = 0.8
"""Of the stage `Fetching`; the rest is reading the samples out of the file."""


def run(task: TranscriptionTask, *, stop: Stop, on_progress: OnProgress) -> Succeeded:
    """Does the task: adopts what an earlier attempt published, or transcribes and publishes.

    Raises:
        WorkError: with the reason, in words for the user.
        Stopped: the worker was told to stop.
    """
    started = time.monotonic()
    on_progress(Stage.STARTING, 0.0, None)
    _check_formats(task.output.formats)
    output = open_output(task.output)
    manifest = publish.find_manifest(output, task)
    if manifest is not None:
        log.info("already published by an earlier attempt", extra={"by_attempt": manifest.attempt})
        return publish.succeeded(output, manifest)
    stop.check()
    output.check_writable()
    stop.check()
    transcript, device = publish.find_transcript(output, task), "unknown"
    if transcript is None:
        transcript, device = _transcribe(task, stop, on_progress, started)
    else:
        log.info("an earlier attempt died while publishing; its transcript is taken over")
    stop.check()
    with stop.shield():
        on_progress(Stage.PUBLISHING, 0.0, None)
        manifest = publish.publish(output, task, transcript, device)
    log.info("published", extra={"manifest": f"{output.uri}/manifest.json", "seconds": time.monotonic() - started})
    return publish.succeeded(output, manifest)


def _check_formats(formats: list[str]) -> None:
    unknown = [fmt for fmt in formats if fmt not in publish.CONTENT_TYPES]
    if unknown or not formats:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"output.formats has {', '.join(unknown) or 'no format'}; choose from {', '.join(publish.CONTENT_TYPES)}.",
        )


def _transcribe(task: TranscriptionTask, stop: Stop, on_progress: OnProgress, started: float) -> tuple[Transcript, str]:
    samples = _read(task, stop, on_progress)
    stop.check()
    from steno_runtime.stt.document import build_transcript
    from steno_runtime.stt.pipeline import Options, transcribe

    diarization = task.diarization
    options = Options(
        model=task.model.name,
        model_store=Path(task.model_store),
        device=task.device,
        compute_type=task.model.compute_type,
        batch_size=None if task.model.batch_size == "auto" else task.model.batch_size,
        batch_divisor=task.batch_divisor,
        memory_mib=task.memory_mib,
        language=None if task.language == "auto" else task.language,
        diarize=diarization is not None,
        min_speakers=diarization.min_speakers if diarization else None,
        max_speakers=diarization.max_speakers if diarization else None,
        hf_token=os.environ.get("HF_TOKEN") or None,
    )
    result = transcribe(samples, options, on_progress=on_progress, check=stop.check)
    transcript = build_transcript(
        result,
        meeting_id=task.meeting_id,
        tenant_id=task.tenant,
        processing_time=round(time.monotonic() - started, 3),
    )
    return transcript, result.device


def _read(task: TranscriptionTask, stop: Stop, on_progress: OnProgress) -> Any:
    """Returns the source's samples; the file that was fetched for them is gone again."""
    scratch = Path(task.scratch_dir)

    def on_bytes(received: int, total: int | None) -> None:
        on_progress(Stage.FETCHING, FETCHED_SHARE * received / total if total else 0.0, None)

    on_progress(Stage.FETCHING, 0.0, None)
    path = fetch(task.source, scratch, check=stop.check, on_bytes=on_bytes)
    log.info("fetched", extra={"bytes": path.stat().st_size})
    from steno_runtime.media.audio import SAMPLE_RATE, read_audio

    samples = read_audio(
        path,
        check=stop.check,
        on_progress=lambda share: on_progress(Stage.FETCHING, FETCHED_SHARE + (1 - FETCHED_SHARE) * share, None),
    )
    log.info("decoded", extra={"audio_seconds": round(samples.shape[0] / SAMPLE_RATE, 2)})
    if task.source.path is None:
        path.unlink(missing_ok=True)
    return samples
