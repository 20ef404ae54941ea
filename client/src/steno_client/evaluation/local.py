"""The runtime in this process as a recogniser: `steno transcribe` and `steno ocr` of one item after the other.

The speech model is loaded once for each number of workers that recordings of different lengths are decoded by.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from steno_client import local
from steno_client.evaluation.manifest import Item, Medium
from steno_client.evaluation.recognisers import RecogniserOptions, Recognition, parse_document, readable_file
from steno_runtime.cores import available_cores

if TYPE_CHECKING:
    from steno_runtime.progress import ProgressUpdate
    from steno_runtime.stt.engine import Engine
    from steno_runtime.stt.options import TranscriptionOptions


class LocalPipelines:
    """The pipelines on this machine."""

    def __init__(
        self, transcription: TranscriptionOptions, recognition: local.RecognitionRequest, options: RecogniserOptions
    ) -> None:
        """Prepare; the speech model is loaded at the first recording.

        Args:
            transcription: model and device; language and speakers are the item's.
            recognition: engine and mode; file and languages are the item's.
            options: languages and speakers of each item.
        """
        self._transcription = transcription
        self._recognition = recognition
        self._options = options
        self._engines: dict[int, Engine] = {}
        """By the number of workers that was asked for."""
        self.load_seconds = 0.0

    @property
    def description(self) -> str:
        """See `Recogniser`."""
        device = next((f" on {engine.device}" for engine in self._engines.values()), "")
        return f"this machine: {self._transcription.model}{device}, OCR engine {self._recognition.engine}"

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        with readable_file(item) as file, TemporaryDirectory(prefix="steno-") as folder:
            if item.medium is Medium.RECORDING:
                return self._transcribe(item, file, Path(folder))
            return self._read_pages(item, file, Path(folder))

    def _transcribe(self, item: Item, file: Path, folder: Path) -> Recognition:
        engine = self._load(item.duration or 0.0)
        languages = self._options.languages_of(item)
        options = replace(
            self._transcription,
            language=languages[0] if len(languages) == 1 else None,
            languages=languages if len(languages) > 1 else (),
            diarize=self._options.diarizes(item),
        )
        started = time.monotonic()
        result = local.transcribe_file(file, options, _ignore, engine=engine)
        return _parsed(result, folder, time.monotonic() - started)

    def _read_pages(self, item: Item, file: Path, folder: Path) -> Recognition:
        request = replace(self._recognition, file=file, languages=self._options.languages_of(item))
        started = time.monotonic()
        result = local.recognize_file(request, folder, _ignore)
        return _parsed(result, folder, time.monotonic() - started)

    def _load(self, seconds: float) -> Engine:
        from steno_runtime.stt.ctranslate import default_workers  # noqa: PLC0415 - documents do not need it

        workers = default_workers(seconds, available_cores())
        engine = self._engines.get(workers) or self._on_gpu()
        if engine is None:
            started = time.monotonic()
            engine = self._engines[workers] = local.load_engine(self._transcription, seconds)
            self.load_seconds += time.monotonic() - started
        return engine

    def _on_gpu(self) -> Engine | None:
        """Return an engine on a GPU, which has one worker for recordings of any length."""
        return next((engine for engine in self._engines.values() if engine.device != "cpu"), None)


def _ignore(_: ProgressUpdate) -> None:
    """Show no progress within an item."""


def _parsed(result: local.LocalResult, folder: Path, seconds: float) -> Recognition:
    document = folder / "document.json"
    result.write("json", document)
    return replace(parse_document(document.read_bytes()), seconds=seconds)
