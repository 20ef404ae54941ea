"""Sessions with real speech and real voice activity detection, and an engine whose words and cost are known."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stream.engine import SessionConfig, SessionLimit, StreamEngine
from steno_runtime.stream.events import Lag, Partial, SpeechEnded, SpeechStarted
from steno_runtime.stream.session import SessionClosed
from steno_runtime.stt.chunks import VAD_FRAME
from steno_runtime.stt.vad import VadState, speech_probabilities

from .fake_engine import POISON, RATE, FakeEngine
from .session_client import check_invariants, finals, run_session, split


def config(uid="s", **changed) -> SessionConfig:
    return SessionConfig(uid, "t", **changed)


@pytest.fixture
async def reference(sample_pcm):
    engine = StreamEngine(FakeEngine(), model="fake", max_sessions=1)
    events = await run_session(engine.open(config()), split(sample_pcm, 3200))
    engine.close()
    return finals(events)


def texts(events) -> list[tuple]:
    return [(final.utterance, final.text, final.words, final.speech_final) for final in finals(events)]


async def test_speech_becomes_partials_and_finals(stream_engine, sample_pcm):
    session = stream_engine.open(config())
    events = await run_session(session, split(sample_pcm, 3200))
    check_invariants(events)
    assert any(isinstance(event, Partial) and event.stable_text for event in events)
    starts = [event for event in events if isinstance(event, SpeechStarted)]
    ends = [event for event in events if isinstance(event, SpeechEnded)]
    assert len(starts) == len(ends) >= 3
    for final in finals(events):
        assert final.language == "en"
        assert 6_000 < final.start_ms < final.end_ms <= 30_000
    assert session.stats.audio_seconds == 30.0
    assert session.stats.language == "en"
    assert session.stats.partial_latency_millis is not None
    assert session.stats.final_latency_millis is not None
    said = " ".join(segment.text for segment in session.segments)
    assert said == " ".join(final.text for final in finals(events))
    assert stream_engine.status().sessions == 0


async def test_finals_do_not_depend_on_how_audio_is_cut(stream_engine, sample_pcm, reference):
    chances = random.Random(1)

    def odd():
        at = 0
        while at < len(sample_pcm):
            size = chances.choice([1, 2, 3, 777, 5001, 32_000])
            yield sample_pcm[at : at + size]
            at += size

    events = await run_session(stream_engine.open(config()), odd())
    check_invariants(events)
    assert texts(events) == texts(reference)


async def test_finals_do_not_depend_on_what_else_is_decoded_or_how_long_it_takes(sample_pcm, reference):
    chances = random.Random(2)
    engine = StreamEngine(FakeEngine(lambda _: chances.random() / 50), model="fake", max_sessions=8)
    results = await asyncio.gather(
        *(run_session(engine.open(config(f"s{i}")), split(sample_pcm, 3200)) for i in range(8))
    )
    status = engine.status()
    engine.close()
    for events in results:
        check_invariants(events)
        assert texts(events) == texts(reference)
    assert status.mean_batch_rows > 1.5


async def test_one_sample_at_a_time(stream_engine, sample_pcm):
    part = sample_pcm[2 * 6 * RATE : 2 * 8 * RATE]
    whole = await run_session(stream_engine.open(config("a")), [part])
    single = await run_session(stream_engine.open(config("b")), split(part, 2))
    assert finals(whole)
    assert texts(single) == texts(whole)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(2 * 16_000 * 40)])
async def test_silence_has_no_events(stream_engine, fake_engine, pcm):
    assert await run_session(stream_engine.open(config()), [pcm]) == []
    assert not fake_engine.calls


async def test_without_interim_results_there_are_only_finals(stream_engine, fake_engine, sample_pcm):
    events = await run_session(stream_engine.open(config(interim_results=False)), split(sample_pcm, 3200))
    assert finals(events)
    assert not any(isinstance(event, Partial) for event in events)
    assert all(what != "greedy" for what, _, _ in fake_engine.calls)


async def test_the_language_is_detected_once_and_kept_while_it_is_spoken(stream_engine, fake_engine, sample_pcm):
    fake_engine.detected = "ko"
    session = stream_engine.open(config())
    events = await run_session(session, split(sample_pcm, 3200))
    assert finals(events)[-1].language == session.stats.language == "ko"
    detections = [what for what, _, _ in fake_engine.calls if what == "detect"]
    assert 1 <= len(detections) <= 2  # the first utterance is a short hello
    assert {language for what, language, _ in fake_engine.calls if what != "detect"} == {"ko"}


async def test_a_requested_language_is_not_detected(stream_engine, fake_engine, sample_pcm):
    events = await run_session(stream_engine.open(config(language="ja")), split(sample_pcm, 3200))
    assert {final.language for final in finals(events)} == {"ja"}
    assert all(what != "detect" for what, _, _ in fake_engine.calls)


@pytest.mark.parametrize(("language", "named"), [("ja-Latn", 1), ("ja-Jpan", 0), ("ja", 0)])
async def test_s16_a_script_that_cannot_be_asked_for_is_named(stream_engine, language, named):
    session = stream_engine.open(config(language=language))
    assert len(session.language_warnings) == named
    await run_session(session, [])


async def test_finalize_ends_the_open_utterance_and_the_session_goes_on(stream_engine, sample_pcm):
    session = stream_engine.open(config())
    events, came = [], asyncio.Event()
    reader = asyncio.create_task(_collect(session, events, came))
    await session.feed(sample_pcm[: 2 * 10 * RATE])  # in the middle of speech
    await session.finalize()
    await session.finalize()
    while not any(final.utterance == 1 for final in finals(events)):
        came.clear()
        await came.wait()
    await session.feed(sample_pcm[2 * 10 * RATE :])
    await session.finish()
    await reader
    check_invariants(events)
    assert finals(events)[-1].end_ms > 20_000
    with pytest.raises(SessionClosed):
        await session.feed(b"\0\0")
    with pytest.raises(SessionClosed):
        await session.finalize()
    await session.finish()
    session.abort()


async def _collect(session, events, came=None) -> None:
    async for event in session.events():
        events.append(event)
        if came is not None:
            came.set()


async def test_a_full_buffer_makes_the_client_wait_and_loses_nothing(stream_engine, fake_engine, sample_pcm, reference):
    fake_engine.unblocked.clear()
    session = stream_engine.open(config())
    events = []
    reader = asyncio.create_task(_collect(session, events))
    pcm = sample_pcm * 3
    feeding = asyncio.create_task(_feed_all(session, pcm))
    assert await asyncio.to_thread(fake_engine.batch_started.acquire, timeout=10)
    with pytest.raises(TimeoutError):  # it takes a fraction of that once the engine goes on
        await asyncio.wait_for(asyncio.shield(feeding), 3)
    assert session._buffer.end > 36 * RATE  # the first speech is 6.6 s in; 30 s more fit
    assert session._buffer.held <= 30 * RATE
    assert session.nbytes <= 2 * 2**19
    fake_engine.unblocked.set()
    await feeding
    await reader
    assert texts(events)[: len(reference) - 1] == texts(reference)[:-1]
    assert finals(events)[-1].end_ms > 89_000


async def _feed_all(session, pcm) -> None:
    for chunk in split(pcm, 3200):
        await session.feed(chunk)
    await session.finish()


async def test_a_reader_that_does_not_read_delays_no_other_session(stream_engine, sample_pcm, reference):
    unread = stream_engine.open(config("unread"))
    feeding = asyncio.create_task(_feed_all(unread, sample_pcm * 30))
    events = await run_session(stream_engine.open(config("other")), split(sample_pcm, 3200))
    assert texts(events) == texts(reference)
    assert not feeding.done()
    assert len(unread._outbox._unread) <= 67
    unread.abort()
    with pytest.raises(SessionClosed):
        await feeding
    assert stream_engine.status().sessions == 0


async def test_what_is_final_is_known_while_the_rest_waits(stream_engine, fake_engine, sample_pcm):
    session = stream_engine.open(config(language="en", interim_results=False))
    events = []
    reader = asyncio.create_task(_collect(session, events))
    await session.feed(sample_pcm[: 32_000 * 10])
    await session.finalize()
    seen = 10 - VAD_FRAME / RATE
    async with asyncio.timeout(10):
        while session.finalized_seconds < seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    fake_engine.unblocked.clear()
    await session.feed(sample_pcm[32_000 * 10 : 32_000 * 15])
    await session.finalize()
    assert seen <= session.finalized_seconds < 14.9
    fake_engine.unblocked.set()
    await session.finish()
    await reader
    assert session.finalized_seconds == 15


async def test_abort_frees_everything(stream_engine, fake_engine, sample_pcm):
    fake_engine.unblocked.clear()
    session = stream_engine.open(config())
    events = []
    reader = asyncio.create_task(_collect(session, events))
    feeding = asyncio.create_task(_feed_all(session, sample_pcm * 3))
    assert await asyncio.to_thread(fake_engine.batch_started.acquire, timeout=10)
    session.abort()
    session.abort()
    await reader
    with pytest.raises(SessionClosed):
        await feeding
    status = stream_engine.status()
    assert status.sessions == 0
    assert set(status.queue_depth.values()) == {0}
    assert session.nbytes == 0
    gone = weakref.ref(session)
    fake_engine.unblocked.set()
    del session, reader, feeding, events
    async with asyncio.timeout(10):
        while gone() is not None:
            await asyncio.sleep(0.01)
            gc.collect()
    stream_engine.open(config()).abort()  # its place is free


async def test_a_window_that_cannot_be_decoded_ends_its_session_only(stream_engine, sample_pcm, reference):
    bad, good = stream_engine.open(config("bad", language="en")), stream_engine.open(config("good"))
    events = []
    reader = asyncio.create_task(_collect(bad, events))
    spoil(bad)
    feeding = asyncio.create_task(_feed_all(bad, sample_pcm))
    others = await run_session(good, split(sample_pcm, 3200))
    assert texts(others) == texts(reference)
    with pytest.raises(WorkError) as caught:
        await reader
    assert caught.value.reason is FailureReason.INTERNAL
    assert not finals(events)
    with contextlib.suppress(SessionClosed):
        await feeding
    assert stream_engine.status().sessions == 0


def spoil(session) -> None:
    """Make the engine fail on every window of a session; voice activity detection still gets its speech."""
    submit = session._transcriber._scheduler.submit

    class Spoiled:
        def submit(self, wanted, *args, **kwargs):
            return submit(replace(wanted, load=lambda: np.full(RATE, POISON)), *args, **kwargs)

        def __getattr__(self, name):
            return getattr(scheduler, name)

    scheduler, session._transcriber._scheduler = session._transcriber._scheduler, Spoiled()


async def test_a_defect_is_reported_to_its_client_without_the_text_that_caused_it(
    stream_engine, sample_pcm, monkeypatch, caplog
):
    def broken(*_args):
        raise KeyError("secret words")

    monkeypatch.setattr("steno_runtime.stream.utterance.Utterance.finalize", broken)
    session = stream_engine.open(config())
    reader = asyncio.create_task(_collect(session, []))
    with contextlib.suppress(SessionClosed):
        await _feed_all(session, sample_pcm)
    with pytest.raises(WorkError, match="KeyError") as caught:
        await reader
    assert caught.value.reason is FailureReason.INTERNAL
    assert "secret" not in caught.value.message + caplog.text
    assert stream_engine.status().sessions == 0


async def test_a_slow_engine_is_reported_once_and_again_when_it_recovers(sample_pcm, monkeypatch):
    monkeypatch.setattr("steno_runtime.stream.transcriber.SLOW_SECONDS", 0.05)
    monkeypatch.setattr("steno_runtime.stream.transcriber.OK_SECONDS", 0.04)
    engine = StreamEngine(FakeEngine(lambda _: 0.1), model="fake", max_sessions=1)
    events = await run_session(engine.open(config()), split(sample_pcm, 3200))
    engine.close()
    states = [event.state for event in events if isinstance(event, Lag)]
    assert states[0] == "slow"
    assert states[-1] == "ok"
    assert all(a != b for a, b in pairwise(states))


async def test_a_server_takes_max_sessions_and_no_more(stream_engine):
    sessions = [stream_engine.open(config(f"s{index}")) for index in range(16)]
    with pytest.raises(SessionLimit, match="16"):
        stream_engine.open(config("one more"))
    sessions[0].abort()
    sessions[0] = stream_engine.open(config("one more"))
    for session in sessions:
        session.abort()
    assert stream_engine.status().sessions == 0


@pytest.mark.parametrize("changed", [{"language": "xx"}, {"endpointing_millis": 10}])
async def test_an_invalid_option_is_refused_with_a_remedy(stream_engine, changed):
    with pytest.raises(WorkError, match="se ") as caught:
        stream_engine.open(config(**changed))
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert stream_engine.status().sessions == 0


async def test_a_session_is_open_once(stream_engine):
    session = stream_engine.open(config())
    with pytest.raises(WorkError, match="already"):
        stream_engine.open(config())
    session.abort()


async def test_closing_the_engine_ends_its_sessions(sample_pcm):
    fake_engine = FakeEngine()
    fake_engine.unblocked.clear()
    engine = StreamEngine(fake_engine, model="fake", max_sessions=2)
    session = engine.open(config())
    reader = asyncio.create_task(_collect(session, []))
    feeding = asyncio.create_task(_feed_all(session, sample_pcm * 3))
    assert await asyncio.to_thread(fake_engine.batch_started.acquire, timeout=10)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    await reader
    fake_engine.unblocked.set()
    await closing
    with pytest.raises(SessionClosed):
        await feeding
    with pytest.raises(WorkError, match="stopping"):
        engine.open(config("later"))
    with pytest.raises(WorkError, match="stopping"):
        engine.batch_engine.decode([np.zeros(RATE, np.float32)], "en")


async def test_audio_that_waits_for_vad_when_the_engine_closes_is_refused_as_closed(sample_pcm, monkeypatch):
    vad_started, go = threading.Event(), threading.Event()

    def blocked_vad(block, state):
        vad_started.set()
        go.wait(20)
        return [0.0] * (len(block) // 512), state

    monkeypatch.setattr("steno_runtime.stream.engine.live_speech_probabilities", blocked_vad)
    engine = StreamEngine(FakeEngine(), model="fake", max_sessions=2)
    sessions = [engine.open(config(uid)) for uid in ("one", "two")]
    feeding = [asyncio.create_task(session.feed(sample_pcm[:32_000])) for session in sessions]
    assert await asyncio.to_thread(vad_started.wait, 10)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    for session in sessions:  # both are aborted before the VAD thread is free again
        assert [event async for event in session.events()] == []
    go.set()
    results = await asyncio.gather(*feeding, return_exceptions=True)
    await closing
    assert [type(result) for result in results] == [SessionClosed, SessionClosed]


def test_speech_probabilities_are_those_of_faster_whisper(sample_pcm):
    from faster_whisper.vad import get_vad_model

    audio = np.frombuffer(sample_pcm, "<i2").astype(np.float32) / 32768
    audio = audio[: len(audio) // 512 * 512]
    theirs = get_vad_model()(audio.copy()).ravel()
    state, ours = VadState(), []
    for begin in range(0, len(audio), 3 * 512):
        found, state = speech_probabilities(audio[begin : begin + 3 * 512], state)
        ours.extend(found)
    # Theirs takes the last frame's end for the first one's context, and blanks it there.
    assert np.abs(np.array(ours) - theirs)[:-1].max() < 1e-5
    assert speech_probabilities(audio, VadState())[0] == ours
