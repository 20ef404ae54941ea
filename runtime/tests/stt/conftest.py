from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hack.models import build
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe

RATE = 16_000


def read(path: Path) -> np.ndarray:
    from faster_whisper import decode_audio

    return decode_audio(str(path), sampling_rate=RATE)


@pytest.fixture(scope="session")
def store() -> Path:
    """The model store: made from packages when it is not there."""
    return build()


@pytest.fixture(scope="session")
def run(store):
    """Transcribes; returns the result and every progress report."""

    def transcribed(samples, **options):
        reports = []
        result = transcribe(
            samples,
            TranscriptionOptions(model="whisper-base", model_store=store, device="cpu", **options),
            on_progress=reports.append,
            check=lambda: None,
        )
        return result, reports

    return transcribed


@pytest.fixture(scope="session")
def sample(sample_wav) -> np.ndarray:
    return read(sample_wav)


@pytest.fixture(scope="session")
def reference_text(sample_wav) -> str:
    lines = sample_wav.with_suffix(".stm").read_text().splitlines()
    return " ".join(line.split(maxsplit=5)[5] for line in lines if line.strip())


@pytest.fixture(scope="session")
def espeak(tmp_path_factory):
    """Say a text in a language; espeak-ng (Debian's package) is a prerequisite of these tests."""
    folder = tmp_path_factory.mktemp("espeak")

    def say(voice: str, text: str) -> np.ndarray:
        path = folder / f"{len(list(folder.iterdir()))}.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-s", "130", "-w", str(path), text], check=True)
        return read(path)

    return say


def normal(text: str) -> str:
    """Return the text in lower case, without punctuation, and with one spelling of words that have several."""
    text = re.sub(r"[^a-z' ]+", " ", text.lower())
    return " ".join({"ok": "okay", "i'm": "i am", "it's": "it is"}.get(word, word) for word in text.split())
