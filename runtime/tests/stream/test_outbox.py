from __future__ import annotations

import asyncio

import pytest

from steno_runtime.stream.events import Final, Lag, Partial, SpeechStarted
from steno_runtime.stream.outbox import Outbox


def partial(utterance: int, text: str) -> Partial:
    return Partial(0, utterance, text, "", 0, 0)


async def drain(outbox: Outbox) -> list:
    return [event async for event in outbox.read()]


async def test_an_unread_partial_is_replaced_and_numbers_have_no_gap():
    outbox = Outbox()
    await outbox.put(SpeechStarted(0))
    outbox.put_latest(partial(0, "a"))
    outbox.put_latest(partial(1, "x"))
    outbox.put_latest(partial(0, "a b"))
    outbox.put_latest(Lag(3000, "slow"))
    outbox.put_latest(Lag(0, "ok"))
    await outbox.put(Final(0, 0, "a b", (), 0, 0, 1.0, "en", True))
    outbox.close()
    events = await drain(outbox)
    assert [getattr(event, "text", None) for event in events] == [None, "x", "a b", None, "a b"]
    assert [event.seq for event in events if isinstance(event, Partial | Final)] == [1, 2, 3]


async def test_a_full_queue_makes_the_writer_wait_for_the_reader():
    outbox = Outbox(max_events=2)
    for offset in range(2):
        await outbox.put(SpeechStarted(offset))
    writer = asyncio.create_task(outbox.put(SpeechStarted(2)))
    await asyncio.sleep(0)
    assert not writer.done()
    reader = outbox.read()
    assert await anext(reader) == SpeechStarted(0)
    await writer


async def test_a_failure_comes_after_the_events_before_it():
    outbox = Outbox()
    await outbox.put(SpeechStarted(0))
    outbox.close(ValueError("x"))
    await outbox.put(SpeechStarted(1))
    reader = outbox.read()
    assert await anext(reader) == SpeechStarted(0)
    with pytest.raises(ValueError, match="x"):
        await anext(reader)


async def test_discarding_frees_a_waiting_writer_and_ends_the_reader():
    outbox = Outbox(max_events=1)
    await outbox.put(SpeechStarted(0))
    writer = asyncio.create_task(outbox.put(SpeechStarted(1)))
    await asyncio.sleep(0)
    outbox.discard()
    await writer
    assert await drain(outbox) == []
