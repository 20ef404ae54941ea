"""Events are written beside the work, in order of their telling, and never more than a limit of them waits."""

from __future__ import annotations

import asyncio
import contextlib

from steno_operator.control.kube import event_recorder
from steno_operator.control.kube.event_recorder import Teller
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.plan import EmitEvent

KEY = Key("TranscriptionJob", "a", "b")


def event(number):
    return EmitEvent("Normal", "Told", str(number))


async def test_telling_waits_for_nothing_and_every_event_is_written(monkeypatch):
    monkeypatch.setattr(event_recorder, "_AT_ONCE", 1)
    written, slow, last = [], asyncio.Event(), asyncio.Event()

    async def emit(key, raw, action):
        await slow.wait()
        written.append(action.message)
        if len(written) == 3:
            last.set()

    told = Teller(emit)
    running = asyncio.create_task(told.run())
    for number in range(3):
        told.tell(KEY, {}, event(number))
    assert not written
    slow.set()
    await last.wait()
    assert written == ["0", "1", "2"]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_beyond_the_limit_events_are_dropped_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(event_recorder, "_LIMIT", 2)

    async def emit(*_):
        raise AssertionError("nobody runs the teller")

    told = Teller(emit)
    for number in range(3):
        told.tell(KEY, {}, event(number))
    assert "Event Told was dropped: 2 wait already" in caplog.text
