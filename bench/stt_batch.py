"""Batch pipelines of Steno and faster-whisper on the same speech: seconds and word error rate.

`python -m bench.stt_batch [--minutes 5] [--rounds 3]`. Rounds are interleaved, so that load on the machine affects all
arms alike. Nothing else should run on it.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jiwer
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from hack.models import build
from steno_runtime.cores import available_cores
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe

BATCH = 8


def normalize(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).replace("okay", "ok").split())


def sample() -> tuple[np.ndarray, str]:
    spec = find_spec("pyannote.audio")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "sample" / "sample.wav"
    lines = path.with_suffix(".stm").read_text().splitlines()
    return decode_audio(str(path)), " ".join(line.split(maxsplit=5)[5] for line in lines if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    once, text = sample()
    times = max(1, round(arguments.minutes * 2))
    samples, reference = np.tile(once, times), normalize(" ".join([text] * times))
    store = build()
    model = WhisperModel(str(store / "whisper-base"), device="cpu", compute_type="int8", cpu_threads=available_cores())
    batched = BatchedInferencePipeline(model)

    def steno() -> str:
        options = TranscriptionOptions(model="whisper-base", model_store=store, device="cpu", batch_size=BATCH)
        result = transcribe(samples, options, on_progress=lambda *_: None, check=lambda: None)
        return " ".join(segment.text for segment in result.segments)

    def faster_whisper_batched() -> str:
        segments, _ = batched.transcribe(samples, batch_size=BATCH, beam_size=5, word_timestamps=True)
        return " ".join(segment.text for segment in segments)

    def faster_whisper() -> str:
        segments, _ = model.transcribe(samples, beam_size=5, word_timestamps=True, vad_filter=True)
        return " ".join(segment.text for segment in segments)

    arms: list[Callable[[], str]] = [steno, faster_whisper_batched, faster_whisper]
    seconds: dict[str, list[float]] = {arm.__name__: [] for arm in arms}
    errors: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for arm in arms:
            begin = time.monotonic()
            text_of_arm = arm()
            seconds[arm.__name__].append(time.monotonic() - begin)
            errors[arm.__name__] = jiwer.wer(reference, normalize(text_of_arm))
    print(
        f"{len(samples) / 16_000:.0f} s of audio, {arguments.rounds} rounds, "
        f"{available_cores()} cores, int8, batch {BATCH}"
    )
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(
            f"{name:24} min {min(taken):6.1f}  median {middle:6.1f}  max {max(taken):6.1f} s  "
            f"{len(samples) / 16_000 / middle:5.1f} x real time  WER {errors[name]:.3f}"
        )


if __name__ == "__main__":
    main()
