"""Events are written in the background, in the order in which they were recorded, from a bounded queue."""

from __future__ import annotations

import asyncio
import contextlib

from steno_kube.client import Cluster
from steno_kube.keys import Key
from steno_operator.control.kube import event_recorder
from steno_operator.control.kube.event_recorder import EventRecorder
from steno_operator.plan.common.plan import EmitEvent

KEY = Key("TranscriptionJob", "a", "b")
RAW = {"apiVersion": "steno.dev/v1alpha1", "metadata": {"uid": "u1", "resourceVersion": "1"}}


def event(number):
    return EmitEvent("Normal", "Recorded", str(number))


class SlowCluster(Cluster):
    """Keeps what is created, once it may."""

    def __init__(self):
        self.written = []
        self.slow, self.last = asyncio.Event(), asyncio.Event()

    async def create(self, kind, namespace, body, **options):  # noqa: ARG002 - as in the class
        await self.slow.wait()
        self.written.append(body["message"])
        if len(self.written) == 3:
            self.last.set()
        return body


async def test_recording_waits_for_nothing_and_every_event_is_written(monkeypatch):
    monkeypatch.setattr(event_recorder, "_CONCURRENCY", 1)
    cluster = SlowCluster()
    recorder = EventRecorder(cluster, "operator-0")
    running = asyncio.create_task(recorder.run())
    for number in range(3):
        recorder.record(KEY, RAW, event(number))
    assert not cluster.written
    cluster.slow.set()
    await cluster.last.wait()
    assert cluster.written == ["0", "1", "2"]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_beyond_the_capacity_events_are_dropped_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(event_recorder, "_CAPACITY", 2)
    recorder = EventRecorder(SlowCluster(), "operator-0")  # it does not run
    for number in range(3):
        recorder.record(KEY, RAW, event(number))
    assert "dropped Event Recorded: 2 are waiting already" in caplog.text
