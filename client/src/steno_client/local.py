"""The runtime's pipeline on this machine: a file in, a transcript out."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steno_api.failures import EXIT_CODES
from steno_api.report import Stage
from steno_api.transcript import Transcript
from steno_client.errors import CommandError
from steno_client.progress import OnProgress
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import read_audio
from steno_runtime.stt import pipeline
from steno_runtime.stt.document import build_transcript

TENANT = "local"
"""`tenant_id` of transcripts made here."""


@dataclass(frozen=True)
class Request:
    """What to transcribe, and how; `None` leaves the choice to the pipeline."""

    file: Path
    model: str
    model_store: Path
    language: str | None = None
    diarize: bool = False
    min_speakers: int | None = None
    max_speakers: int | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compute_type: str = "auto"
    batch_size: int | None = None


def default_model_store() -> Path:
    """The user's own store, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steno" / "models"


def transcribe(request: Request, on_progress: OnProgress) -> Transcript:
    """Transcribes a file.

    Raises:
        CommandError: the file, the model or the machine is not fit; the text says what to do.
    """
    on_progress(Stage.STARTING, 0.0, None)
    started = time.monotonic()
    options = pipeline.Options(
        model=request.model,
        model_store=request.model_store,
        device=request.device,
        compute_type=request.compute_type,
        batch_size=request.batch_size,
        language=request.language,
        diarize=request.diarize,
        min_speakers=request.min_speakers,
        max_speakers=request.max_speakers,
        hf_token=os.environ.get("HF_TOKEN"),
    )
    try:
        on_progress(Stage.FETCHING, 0.0, None)
        samples = read_audio(
            request.file, check=_check, on_progress=lambda fraction: on_progress(Stage.FETCHING, fraction, None)
        )
        result = pipeline.transcribe(samples, options, on_progress=on_progress, check=_check)
    except WorkError as error:
        raise CommandError(error.message, EXIT_CODES[error.reason.failure_class]) from error
    return build_transcript(
        result, meeting_id=request.file.stem, tenant_id=TENANT, processing_time=time.monotonic() - started
    )


def _check() -> None:
    """The pipeline's place to stop: here Ctrl-C raises KeyboardInterrupt by itself."""


@contextmanager
def quiet_libraries(*, debug: bool) -> Generator[None]:
    """Keeps libraries from writing over the progress bar, and from calling home."""
    for name in ("PYANNOTE_METRICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "0" if name.endswith("_ENABLED") else "1")
    if debug:
        yield
        return
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
