"""The engine as pieces of batch work share it: together in batches, without one delaying or changing another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from steno_runtime.errors import Stopped, WorkError
from steno_runtime.stream.engine import BatchEngine
from steno_runtime.stream.scheduler import Priority, Scheduler
from steno_runtime.worker.signals import StopRequest

from .fake_engine import POISON, RATE, FakeEngine
from .test_scheduler import window

AUDIO = np.zeros(RATE, np.float32)


@pytest.fixture
def engine():
    made = FakeEngine()
    made.device = "cuda"
    return made


@pytest.fixture
def scheduler(engine):
    made = Scheduler(engine)
    yield made
    engine.unblocked.set()
    made.close()


@pytest.fixture
def shared(engine, scheduler):
    return BatchEngine(scheduler, engine)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def busy(engine, scheduler):
    """The engine is in the middle of a batch until `unblocked` is set."""
    engine.unblocked.clear()
    scheduler.submit(window("busy"), Priority.FINAL)
    assert engine.batch_started.acquire(timeout=10)


def decode(shared, audio=AUDIO, stop=None):
    """Decode as an attempt does; return the texts."""
    with shared.share((stop or StopRequest()).check) as part:
        return [decoded.text for decoded in part.decode([audio], "en")]


def waiting(scheduler, count):
    """Wait until so many windows of batch work are in the queue."""
    event = threading.Event()
    for _ in range(2000):
        if scheduler.depth()["batch"] == count:
            return
        event.wait(0.005)
    raise AssertionError(scheduler.depth())


def rows(engine):
    return [len(windows) for _, _, windows in engine.calls[1:]]


def test_what_several_have_to_decode_is_decoded_together(engine, scheduler, shared, threads, busy):
    results = [threads.submit(decode, shared) for _ in range(3)]
    waiting(scheduler, 3)
    engine.unblocked.set()
    texts = [result.result(10) for result in results]
    assert texts[0] == texts[1] == texts[2] != [""]
    assert rows(engine) == [3]


def test_on_a_cpu_nobody_is_decoded_with_another(engine, scheduler, threads, busy):
    engine.device = "cpu"
    shared = BatchEngine(scheduler, engine)
    results = [threads.submit(decode, shared) for _ in range(3)]
    waiting(scheduler, 3)
    engine.unblocked.set()
    assert all(result.result(10) for result in results)
    assert rows(engine) == [1, 1, 1]


def test_one_that_fails_does_not_fail_the_others_of_its_batch(engine, scheduler, shared, threads, busy):
    good = [threads.submit(decode, shared) for _ in range(2)]
    bad = threads.submit(decode, shared, np.full(RATE, POISON))
    waiting(scheduler, 3)
    engine.unblocked.set()
    assert all(result.result(10) for result in good)
    with pytest.raises(WorkError, match="Decoding failed"):
        bad.result(10)


def test_one_that_is_stopped_leaves_the_batch_at_once(engine, scheduler, shared, threads, busy):
    stop = StopRequest()
    stopped, other = threads.submit(decode, shared, AUDIO, stop), threads.submit(decode, shared)
    waiting(scheduler, 2)
    stop.request()
    with pytest.raises(Stopped):
        stopped.result(10)
    assert scheduler.depth()["batch"] == 1
    engine.unblocked.set()
    assert other.result(10)
    assert rows(engine) == [1]


def test_one_with_much_to_decode_does_not_hold_up_another(engine, scheduler, shared, threads, busy):
    engine.batch_size = scheduler._max_windows = 2
    with shared.share(lambda: None) as part:
        much = threads.submit(part.decode, [AUDIO] * 6, "en")
        waiting(scheduler, 6)
        little = threads.submit(decode, shared, AUDIO + np.float32(0.1))
        waiting(scheduler, 7)
        engine.unblocked.set()
        little.result(10)
        much.result(10)
    first = next(number for number, (_, _, windows) in enumerate(engine.calls[1:]) if any(w[0] for w in windows))
    assert first == 0, "it is in the first batch after the one that ran"


def test_nothing_is_kept_of_those_that_are_done(scheduler, shared):
    for _ in range(20):
        decode(shared)
    assert scheduler._last_served == {}
    assert scheduler._fair_queue._sessions == {}
