"""The runtime's pipelines on this machine: a file in, a document out."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steno_api.failures import EXIT_CODES
from steno_api.v1alpha1.job import Stage
from steno_client.errors import CommandError
from steno_client.interrupts import interruptible
from steno_client.publish import Write
from steno_runtime.errors import WorkError
from steno_runtime.progress import ProgressCallback, ProgressUpdate

TENANT = "local"
"""`tenant_id` of documents made here."""


@dataclass(frozen=True)
class Transcription:
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


@dataclass(frozen=True)
class Recognition:
    """What to read, and how."""

    file: Path
    model_store: Path
    languages: tuple[str, ...] = ()
    engine: Literal["auto", "tesseract", "rapidocr", "paddleocr"] = "auto"
    pages: str | None = None
    mode: Literal["skip", "redo", "force"] = "skip"


def default_model_store() -> Path:
    """The user's own store, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steno" / "models"


@dataclass(frozen=True)
class Document:
    """What became of a file."""

    write: Write
    """Writes a format; raises CommandError when the document cannot be had in it."""
    unread: int = 0
    """Pages that could not be read."""


def transcribe(request: Transcription, on_progress: ProgressCallback) -> Document:
    """Transcribes a file.

    Raises:
        CommandError: the file, the model or the machine is not fit; the text says what to do.
    """
    from steno_runtime.media.audio import read_audio  # noqa: PLC0415 - OCR needs none of it
    from steno_runtime.stt import pipeline  # noqa: PLC0415
    from steno_runtime.stt.document import build_transcript  # noqa: PLC0415
    from steno_runtime.stt.writers import WRITERS  # noqa: PLC0415

    on_progress(ProgressUpdate(Stage.STARTING))
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
    with _explained() as check:
        on_progress(ProgressUpdate(Stage.FETCHING))
        samples = read_audio(
            request.file,
            check=check,
            on_progress=lambda fraction: on_progress(ProgressUpdate(Stage.FETCHING, fraction)),
        )
        result = pipeline.transcribe(samples, options, on_progress=on_progress, check=check)
        transcript = build_transcript(
            result, meeting_id=request.file.stem, tenant_id=TENANT, processing_time=time.monotonic() - started
        )

    def write(name: str, path: Path) -> None:
        path.write_bytes(WRITERS[name](transcript))

    return Document(write)


def recognise(request: Recognition, scratch: Path, on_progress: ProgressCallback) -> Document:
    """Reads a document; its pages are kept in the directory `scratch`, which must outlive the result.

    Raises:
        CommandError: the file or an option is not fit; the text says what to do.
    """
    from steno_runtime.ocr import pipeline  # noqa: PLC0415 - transcribing needs none of it
    from steno_runtime.ocr.writers import WRITERS, Header  # noqa: PLC0415

    on_progress(ProgressUpdate(Stage.STARTING))
    started = time.monotonic()
    options = pipeline.Options(
        languages=request.languages,
        engine=request.engine,
        pages=request.pages,
        mode=request.mode,
        model_store=request.model_store,
    )
    with _explained() as check:
        result = pipeline.recognise(request.file, options, scratch=scratch, on_progress=on_progress, check=check)
    header = Header(TENANT, request.file.stem, round(time.monotonic() - started, 3))

    def write(name: str, path: Path) -> None:
        with _explained():
            WRITERS[name](result, header, path)

    return Document(write, unread=result.failed_pages)


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


@contextmanager
def _explained() -> Generator[Callable[[], None]]:
    """Tells failures in one line; yields the pipelines' place to stop."""
    with interruptible() as check:
        try:
            yield check
        except WorkError as error:
            raise CommandError(error.message, EXIT_CODES[error.reason.failure_class]) from error
        check()
