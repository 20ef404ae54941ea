"""S17: sessions whose language changes, with real voice activity and an engine that knows what is spoken."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from steno_runtime.stream.engine import SessionConfig, StreamEngine

from .fake_engine import FakeEngine
from .session_client import check_invariants, finals, run_session, split


class BilingualEngine(FakeEngine):
    """Hears Korean where samples are odd, and English where they are even."""

    def heard(self, window: np.ndarray) -> dict[str, float]:
        odd = float((np.round(window * 32768).astype(int) % 2).mean())
        return {"ko": odd, "en": 1 - odd}


def marked(pcm: bytes, *, odd: bool) -> bytes:
    samples = np.frombuffer(pcm, "<i2") & ~np.int16(1)
    return (samples + np.int16(odd)).tobytes()


async def run(pcm: bytes, engine: FakeEngine, **config: object):
    stream = StreamEngine(engine, model="fake", max_sessions=1)
    try:
        session = stream.open(SessionConfig("s", "t", **config))
        return await run_session(session, split(pcm, 3200)), session
    finally:
        stream.close()


@pytest.mark.parametrize(("first", "second"), [("en", "ko"), ("ko", "en")])
async def test_s17_a_session_goes_on_in_another_language(sample_pcm, first, second):
    pcm = marked(sample_pcm, odd=first == "ko") + marked(sample_pcm, odd=second == "ko")
    events, session = await run(pcm, BilingualEngine())
    check_invariants(events)
    said = finals(events)
    assert [language for language, _ in groupby(final.language for final in said)] == [first, second]
    late = [final for final in said if final.start_ms >= 30_000 and final.language == first]
    assert all(final.end_ms - final.start_ms < 3000 for final in late)
    assert [segment.language for segment in session.segments if segment.start > 45][-1] == second


async def test_s17_its_finals_are_the_same_on_a_loaded_server(sample_pcm):
    pcm = marked(sample_pcm, odd=False) + marked(sample_pcm, odd=True) + marked(sample_pcm, odd=False)
    idle, _ = await run(pcm, BilingualEngine())
    loaded, _ = await run(pcm, BilingualEngine(lambda _: 0.05))

    def texts(events):
        return [(final.text, final.language) for final in finals(events)]

    assert texts(loaded) == texts(idle)


async def test_s17_a_requested_language_is_kept(sample_pcm):
    events, session = await run(marked(sample_pcm, odd=True), BilingualEngine(), language="en")
    assert {final.language for final in finals(events)} == {"en"} == {session.stats.language}
