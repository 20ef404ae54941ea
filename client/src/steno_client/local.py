"""Local pipelines: the runtime's transcription and OCR on this machine, without a cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from steno_api.documents.warnings import ResultWarning
from steno_api.failures import EXIT_CODES
from steno_api.v1alpha1.job import Stage
from steno_client.errors import CommandError
from steno_client.output_files import WriteFormat
from steno_runtime.errors import WorkError
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.stt.options import TranscriptionOptions

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Engine

TENANT = "local"
"""`tenant_id` of documents made here."""


@dataclass(frozen=True)
class RecognitionRequest:
    """What to recognize, and how."""

    file: Path
    model_store: Path
    languages: tuple[str, ...] = ()
    engine: Literal["auto", "tesseract", "rapidocr", "paddleocr"] = "auto"
    pages: str | None = None
    mode: Literal["skip", "redo", "force"] = "skip"
    triton_url: str | None = None
    triton_ca_file: Path | None = None


def default_model_store() -> Path:
    """Return the user's own model store, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steno" / "models"


@dataclass(frozen=True)
class LocalResult:
    """The result of a pipeline, ready to be written.

    Attributes:
        write: writes one format to a path; raises CommandError if that is not possible.
        warnings: what was lost, doubted or guessed.
    """

    write: WriteFormat
    warnings: Sequence[ResultWarning] = ()


def load_engine(options: TranscriptionOptions, seconds: float) -> Engine:
    """Load the model of the options, for several files.

    Args:
        options: model and device.
        seconds: of audio in each file; 0: not known.

    Raises:
        CommandError: the model or the machine is not suitable; the text says what to do.
    """
    from steno_runtime.stt import pipeline  # noqa: PLC0415 - OCR does not need it

    with _errors_explained() as check:
        return pipeline.load_engine(options, check, seconds=seconds)


def transcribe_file(
    file: Path,
    options: TranscriptionOptions,
    on_progress: ProgressCallback,
    *,
    engine: Engine | None = None,
    split_channels: bool = False,
) -> LocalResult:
    """Transcribe a file.

    Args:
        file: audio or video.
        options: model, language, speakers.
        on_progress: called as the work goes on.
        engine: already loaded, with the model of the options; None: it is loaded for this file.
        split_channels: whether each channel is a speaker.

    Raises:
        CommandError: the file, the model or the machine is not suitable; the text says what to do.
    """
    from steno_runtime.media.channels import read_recording  # noqa: PLC0415 - OCR does not need these
    from steno_runtime.media.tracks import Selection  # noqa: PLC0415
    from steno_runtime.stt import pipeline  # noqa: PLC0415
    from steno_runtime.stt.channels import merge_channels  # noqa: PLC0415
    from steno_runtime.stt.document import build_transcript  # noqa: PLC0415
    from steno_runtime.stt.writers import WRITERS  # noqa: PLC0415

    on_progress(ProgressUpdate(Stage.STARTING))
    started = time.monotonic()
    with _errors_explained() as check:
        on_progress(ProgressUpdate(Stage.FETCHING))
        found: list[ResultWarning] = []
        recording = read_recording(
            file,
            check=check,
            selection=Selection(split=split_channels),
            on_warning=found.append,
            on_progress=lambda fraction: on_progress(ProgressUpdate(Stage.FETCHING, fraction)),
        )
        result = pipeline.transcribe(
            recording.samples, options, on_progress=on_progress, check=check, engine=engine, source_warnings=found
        )
        result = merge_channels(result, recording)
        transcript = build_transcript(
            result, meeting_id=file.stem, tenant_id=TENANT, processing_time=time.monotonic() - started
        )

    def write(name: str, path: Path) -> None:
        path.write_bytes(WRITERS[name](transcript))

    return LocalResult(write, warnings=transcript.warnings)


def recognize_file(request: RecognitionRequest, scratch: Path, on_progress: ProgressCallback) -> LocalResult:
    """Recognize the text of a document.

    Args:
        request: the document and the options.
        scratch: directory for intermediate pages, which must exist until the result has been written.
        on_progress: called as the work proceeds.

    Raises:
        CommandError: the file or an option is not suitable; the text says what to do.
    """
    from steno_runtime.ocr import pipeline  # noqa: PLC0415 - transcription does not need these
    from steno_runtime.ocr.writers import WRITERS, Header  # noqa: PLC0415
    from steno_runtime.triton.client import TritonServer  # noqa: PLC0415

    on_progress(ProgressUpdate(Stage.STARTING))
    started = time.monotonic()
    with _errors_explained() as check:
        triton = (
            TritonServer.from_url(request.triton_url, ca_file=request.triton_ca_file) if request.triton_url else None
        )
        options = pipeline.RecognitionOptions(
            languages=request.languages,
            engine=request.engine,
            pages=request.pages,
            mode=request.mode,
            model_store=request.model_store,
            triton=triton,
        )
        result = pipeline.recognize(request.file, options, scratch=scratch, on_progress=on_progress, check=check)
    header = Header(TENANT, request.file.stem, round(time.monotonic() - started, 3))

    def write(name: str, path: Path) -> None:
        with _errors_explained():
            WRITERS[name](result, header, path)

    return LocalResult(write, warnings=result.warnings)


def disable_telemetry() -> None:
    """Keep libraries from sending telemetry."""
    for name in ("PYANNOTE_METRICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "0" if name.endswith("_ENABLED") else "1")


@contextmanager
def quiet_libraries(*, debug: bool) -> Generator[None]:
    """Keep libraries from writing over the progress bar, and from sending telemetry."""
    disable_telemetry()
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
def _errors_explained() -> Generator[Callable[[], None]]:
    """Turn failures of the runtime into CommandErrors; yields the `check` that the pipelines call to be interrupted."""
    with interruptible() as check:
        try:
            yield check
        except WorkError as error:
            raise CommandError(error.message, EXIT_CODES[error.reason.failure_class]) from error
        check()


@contextmanager
def interruptible() -> Generator[Callable[[], None]]:
    """Remember Ctrl-C, and yield a function that raises KeyboardInterrupt after one.

    Some libraries swallow the exception itself, in a bare `except:` while they are imported. In other threads than the
    main thread, which is the only one that receives signals, nothing changes.
    """
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
