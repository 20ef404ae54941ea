"""An engine of several workers: batch work is decoded by all of them side by side, live work in one batch at a time."""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from steno_runtime.stream.scheduler import DecodeKind, Priority, Scheduler

from .fake_engine import FakeEngine
from .test_scheduler import window


@pytest.fixture
def engine():
    return FakeEngine(workers=2)


@pytest.fixture
def scheduler(engine):
    made = Scheduler(engine)
    yield made
    engine.unblocked.set()
    made.close()


def begun(engine) -> bool:
    return engine.batch_started.acquire(timeout=10)


def batch(scheduler, name="b"):
    return scheduler.submit(window(name, kind=DecodeKind.BATCH), Priority.BATCH)


def final(scheduler, name="f"):
    return scheduler.submit(window(name, kind=DecodeKind.FINAL), Priority.FINAL)


def test_batch_work_is_decoded_by_all_workers(engine, scheduler):
    engine.unblocked.clear()
    first = batch(scheduler)
    assert begun(engine)
    assert not first.done()
    second = batch(scheduler)
    assert begun(engine), "the other worker takes it"
    third = batch(scheduler)
    engine.unblocked.set()
    assert all(future.result(10).text for future in (first, second, third))


def test_live_work_is_decoded_in_one_batch_at_a_time(engine, scheduler):
    engine.unblocked.clear()
    first = final(scheduler)
    assert begun(engine)
    second, beside = final(scheduler, "g"), batch(scheduler)
    assert begun(engine)
    assert [what for what, _, _ in engine.calls] == ["beam", "beam_with_fallback"]
    assert scheduler.depth() == {"final": 1, "partial": 0, "batch": 0}
    assert not scheduler.idle
    engine.unblocked.set()
    assert all(future.result(10).text for future in (first, second, beside))


def test_workers_that_are_idle_share_what_waits(engine, scheduler):
    engine.unblocked.clear()
    with scheduler._changed:  # none of them sees a part of it
        futures = [batch(scheduler, f"b{number}") for number in range(4)]
    assert begun(engine)
    assert begun(engine)
    engine.unblocked.set()
    wait(futures, 10)
    assert [len(windows) for _, _, windows in engine.calls] == [2, 2]


def test_closing_ends_every_worker(engine, scheduler):
    engine.unblocked.clear()
    running = [batch(scheduler, name) for name in "ab"]
    assert begun(engine)
    engine.unblocked.set()
    scheduler.close()
    assert all(future.done() for future in running)
    assert not any(thread.is_alive() for thread in scheduler._threads)
