"""Sessions with a real model on real speech: what a client gets."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest

from hack.models import build
from runtime.tests.stt.conftest import normal
from steno_runtime.stream.engine import SessionConfig, StreamEngine
from steno_runtime.stream.events import Partial
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe
from tests.support.properties import LONG

from .fake_engine import RATE
from .session_client import check_invariants, finals, run_session, split

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def store() -> Path:
    """The model store: made from packages when it is not there."""
    return build()


@pytest.fixture(scope="module")
def real(store):
    engine = StreamEngine.load(
        TranscriptionOptions(model="whisper-base", model_store=store, device="cpu"), max_sessions=16
    )
    engine.warm()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(real, sample_pcm):
    """The events of one session with the sample, and its stats and segments."""

    async def run():
        session = real.open(SessionConfig("alone", "t"))
        events = await run_session(session, split(sample_pcm, 3200))
        return events, session.stats, session.segments

    return asyncio.run(run())


def test_words_of_the_sample(reference, sample_wav):
    events, stats, segments = reference
    lines = sample_wav.with_suffix(".stm").read_text().splitlines()
    reference = " ".join(line.split(maxsplit=5)[5] for line in lines if line.strip())
    said = " ".join(final.text for final in finals(events))
    error = jiwer.wer(normal(reference), normal(said))
    print(f"WER {error:.3f}")
    assert error <= 0.35
    assert stats.language == "en"
    assert " ".join(segment.text for segment in segments).split() == said.split()


def test_stable_text_stays_and_begins_the_final(reference):
    events, _, _ = reference
    check_invariants(events)
    assert any(isinstance(event, Partial) and event.stable_text for event in events)


def test_words_are_where_speech_is(reference):
    events, _, _ = reference
    words = [word for final in finals(events) for word in final.words]
    assert words[0].start_ms == pytest.approx(6_680, abs=500)
    assert words[-1].end_ms == pytest.approx(29_990, abs=500)
    for before, after in pairwise(finals(events)):
        assert before.end_ms <= after.start_ms + 200


@pytest.mark.long
async def test_many_sessions_end_with_the_finals_of_one(real, sample_pcm, reference):
    count = 8 if LONG else 4
    sessions = [real.open(SessionConfig(f"s{index}", f"t{index % 3}")) for index in range(count)]
    results = await asyncio.gather(*(run_session(session, split(sample_pcm, 3200)) for session in sessions))

    def texts(events) -> list[tuple]:
        return [(one.utterance, one.text, one.language, one.speech_final) for one in finals(events)]

    for events in results:
        check_invariants(events)
        assert texts(events) == texts(reference[0])
    assert real.status().mean_batch_rows > 1.5
    assert real.status().sessions == 0


async def test_noise_yields_few_words_and_silence_none(real, noise_pcm):
    events = await run_session(real.open(SessionConfig("noise", "t")), split(noise_pcm, 3200))
    assert sum(len(final.words) for final in finals(events)) <= 3
    assert await run_session(real.open(SessionConfig("silence", "t")), split(bytes(20 * 2 * RATE), 3200)) == []


async def test_a_recording_is_transcribed_beside_a_session(real, store, sample_pcm, reference):
    samples = np.frombuffer(sample_pcm, "<i2").astype(np.float32) / 32768
    result = []

    def work() -> None:
        options = TranscriptionOptions(model="whisper-base", model_store=store, device="cpu")
        result.append(
            transcribe(samples, options, on_progress=lambda *_: None, check=lambda: None, engine=real.batch_engine)
        )

    thread = threading.Thread(target=work)
    thread.start()
    events = await run_session(real.open(SessionConfig("beside", "t")), split(sample_pcm, 3200))
    await asyncio.to_thread(thread.join)
    assert [final.text for final in finals(events)] == [final.text for final in finals(reference[0])]
    assert len(" ".join(segment.text for segment in result[0].segments).split()) > 50
    assert result[0].language == "en"
    assert real.status().decodes["batch"] > 0
