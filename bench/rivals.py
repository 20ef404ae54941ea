"""Rival recognisers behind `steno evaluate`'s protocol: faster-whisper, WhisperX, Tesseract and RapidOCR by themselves.

Each is used as its own documentation says, with the same model, beam size and cores as Steno. WhisperX is given no
alignment model, so that it makes no word times and is timed without them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import tesserocr
import whisperx
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from PIL import Image, ImageSequence
from rapidocr import RapidOCR

from steno_client.evaluation.manifest import Item, Medium, WordTime
from steno_client.evaluation.recognisers import Recogniser, Recognition, readable_file
from steno_client.evaluation.scores import Hypothesis
from steno_runtime.cores import available_cores
from steno_runtime.media.audio import SAMPLE_RATE, read_audio
from steno_runtime.ocr.engines.tesseract import tessdata
from steno_runtime.ocr.languages import tesseract_names
from steno_runtime.stream.engine import StreamEngine
from steno_runtime.stream.events import Final
from steno_runtime.stream.session import SessionConfig
from steno_runtime.stt.options import TranscriptionOptions

BATCH, BEAM = 8, 5
COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}
"""What Steno chooses as well."""
PDF_DPI = 200


class _Loaded:
    """A recogniser that loads its model before the first item."""

    description = ""
    load_seconds = 0.0

    def _load(self, load: Callable[[], Any]) -> Any:
        started = time.monotonic()
        loaded = load()
        self.load_seconds += time.monotonic() - started
        return loaded


class FasterWhisper(_Loaded):
    """faster-whisper, one window after the other or batched, with voice activity detection and word times."""

    def __init__(self, folder: Path, device: str = "cpu", *, batched: bool) -> None:
        """Load the model.

        Args:
            folder: of the CTranslate2 model.
            device: `cpu` or `cuda`.
            batched: whether `BatchedInferencePipeline` decodes.
        """
        self.description = f"faster-whisper {'batched' if batched else 'sequential'}"
        model = self._load(
            lambda: WhisperModel(
                str(folder), device=device, compute_type=COMPUTE_TYPES[device], cpu_threads=available_cores()
            )
        )
        self._transcribe = (
            (lambda audio, **options: BatchedInferencePipeline(model).transcribe(audio, batch_size=BATCH, **options))
            if batched
            else (lambda audio, **options: model.transcribe(audio, vad_filter=True, **options))
        )

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        started = time.monotonic()
        audio = decode_audio(str(item.file))
        segments, _ = self._transcribe(audio, beam_size=BEAM, word_timestamps=True, language=item.language)
        found = list(segments)
        words = tuple(
            WordTime(word=word.word.strip(), start=word.start, end=word.end)
            for segment in found
            for word in segment.words or ()
        )
        text = "".join(segment.text for segment in found)
        return _heard(audio, text, words, time.monotonic() - started)


class WhisperX(_Loaded):
    """WhisperX's batched pipeline with pyannote's voice activity detection."""

    description = "WhisperX (no alignment)"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model of a CTranslate2 folder on a device, `cpu` or `cuda`."""
        self._model = self._load(
            lambda: whisperx.load_model(
                str(folder),
                device,
                compute_type=COMPUTE_TYPES[device],
                threads=available_cores(),
                asr_options={"beam_size": BEAM},
            )
        )

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        started = time.monotonic()
        audio = read_audio(item.file, check=lambda: None)  # its own needs the program ffmpeg
        found = self._model.transcribe(audio, batch_size=BATCH, language=item.language)
        text = " ".join(segment["text"].strip() for segment in found["segments"])
        return _heard(audio, text, None, time.monotonic() - started)


class LiveEngine(_Loaded):
    """Steno's engine of live sessions, given a recording as fast as it takes it; the text is that of the finals."""

    description = "Steno live engine"

    def __init__(self, store: Path, model: str, device: str = "cpu") -> None:
        """Load the model.

        Args:
            store: the model store.
            model: a name in it.
            device: `cpu` or `cuda`.
        """
        options = TranscriptionOptions(model=model, model_store=store, device=device)
        self._engine = self._load(lambda: StreamEngine.load(options, max_sessions=1))
        self._load(self._engine.warm)

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        started = time.monotonic()
        audio = read_audio(item.file, check=lambda: None)
        finals = asyncio.run(self._listen(audio, item.language))
        words = tuple(
            WordTime(word=word.word, start=word.start_ms / 1000, end=word.end_ms / 1000)
            for final in finals
            for word in final.words
        )
        return _heard(audio, " ".join(final.text for final in finals), words, time.monotonic() - started)

    async def _listen(self, audio: np.ndarray, language: str | None) -> list[Final]:
        session = self._engine.open(SessionConfig("bench", "bench", language=language or "auto"))
        finals: list[Final] = []

        async def collect() -> None:
            finals.extend([event async for event in session.events() if isinstance(event, Final)])

        collecting = asyncio.create_task(collect())
        pcm = (np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
        for at in range(0, len(pcm), SAMPLE_RATE // 5):
            await session.feed(pcm[at : at + SAMPLE_RATE // 5])
        await session.finish()
        await collecting
        return finals


class Tesseract:
    """Tesseract with the models that Steno ships, in the languages of the manifest."""

    description = "Tesseract"
    load_seconds = 0.0

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`; the model is loaded for each item, before the clock runs."""
        names = "+".join(tesseract_names(item.languages or ("en",)))
        with tesserocr.PyTessBaseAPI(path=str(tessdata()), lang=names, psm=tesserocr.PSM.AUTO) as api:

            def read(page: Image.Image) -> str:
                api.SetImage(page)
                return str(api.GetUTF8Text())

            return _read_pages(item, read)


class BareRapidOCR(_Loaded):
    """RapidOCR with its default models (Chinese and English)."""

    description = "RapidOCR"

    def __init__(self) -> None:
        """Load the models."""
        self._rapid = self._load(lambda: RapidOCR(params={"Global.log_level": "error"}))

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        return _read_pages(item, self._read)

    def _read(self, page: Image.Image) -> str:
        result = self._rapid(np.ascontiguousarray(np.asarray(page.convert("RGB"))[:, :, ::-1]))
        if result.boxes is None:
            return ""
        rows = sorted(zip(result.boxes, result.txts, strict=True), key=lambda row: float(row[0][:, 1].mean()))
        return "\n".join(text for _, text in rows)


def speech_rivals(store: Path, model: str, device: str) -> dict[str, Callable[[], Recogniser]]:
    """Return what makes each recogniser of recordings.

    Args:
        store: the model store.
        model: a name in it.
        device: `cpu` or `cuda`.
    """
    folder = store / model
    return {
        "live": lambda: LiveEngine(store, model, device),
        "faster-whisper": lambda: FasterWhisper(folder, device, batched=False),
        "faster-whisper-batched": lambda: FasterWhisper(folder, device, batched=True),
        "whisperx": lambda: WhisperX(folder, device),
    }


PAGE_RIVALS: dict[str, Callable[[], Recogniser]] = {"tesseract": Tesseract, "rapidocr": BareRapidOCR}
MEDIA = {
    **dict.fromkeys(("live", "faster-whisper", "faster-whisper-batched", "whisperx"), Medium.RECORDING),
    **dict.fromkeys(PAGE_RIVALS, Medium.DOCUMENT),
}
"""What each rival recognises."""


def pages_of(item: Item) -> list[Image.Image]:
    """Return the pages of a document as pictures; those of a PDF at 200 dpi."""
    with readable_file(item) as file:
        if file.suffix.lower() != ".pdf":
            with Image.open(file) as image:
                return [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        pdf = pypdfium2.PdfDocument(file)
        try:
            return [page.render(scale=PDF_DPI / 72).to_pil().convert("RGB") for page in pdf]
        finally:
            pdf.close()


def _read_pages(item: Item, read: Callable[[Image.Image], str]) -> Recognition:
    started = time.monotonic()
    texts = [read(page) for page in pages_of(item)]
    return Recognition(Hypothesis("\n".join(texts)), len(texts), time.monotonic() - started)


def _heard(audio: np.ndarray, text: str, words: Iterable[WordTime] | None, seconds: float) -> Recognition:
    duration = len(audio) / SAMPLE_RATE
    timed = None if words is None else tuple(words)
    return Recognition(Hypothesis(text, words=timed, duration=duration), duration, seconds)
