from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stream.scheduler import (
    BATCH_MAX_WAIT_SECONDS,
    PARTIAL_MIN_WAIT_SECONDS,
    DecodeKind,
    Priority,
    Scheduler,
    SchedulerClosed,
    Window,
)

from .fake_engine import POISON, FakeEngine

AUDIO = np.zeros(16_000, np.float32)


def window(session="s", *, tenant="t", kind=DecodeKind.DRAFT, frames=500, language="en", audio=AUDIO) -> Window:
    return Window(kind, tenant, session, frames, lambda: audio, language)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scheduler(fake_engine, clock):
    made = Scheduler(fake_engine, clock=clock)
    yield made
    fake_engine.unblocked.set()
    made.close()


@pytest.fixture
def busy(fake_engine, scheduler):
    """The engine is in the middle of a batch until `unblocked` is set."""
    fake_engine.unblocked.clear()
    running = scheduler.submit(window("busy"), Priority.FINAL)
    assert fake_engine.batch_started.acquire(timeout=10)
    return running


def batches(fake_engine) -> list[tuple[str, int]]:
    return [(what, len(windows)) for what, _, windows in fake_engine.calls[1:]]


def test_an_idle_engine_gets_a_window_at_once(fake_engine, scheduler):
    assert scheduler.idle
    assert scheduler.submit(window(), Priority.PARTIAL).result(10).text
    assert batches(fake_engine) == []
    assert scheduler.decodes()["draft"] == 1


def test_windows_of_many_sessions_gather_while_it_is_busy(fake_engine, scheduler, busy):
    futures = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(8)]
    assert scheduler.depth() == {"final": 0, "partial": 8, "batch": 0}
    assert not scheduler.idle
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert batches(fake_engine) == [("greedy", 8)]


def test_finals_then_partials_then_batch_work(fake_engine, scheduler, busy):
    futures = [
        scheduler.submit(window(kind=DecodeKind.BATCH), Priority.BATCH),
        scheduler.submit(window(), Priority.PARTIAL),
        scheduler.submit(window(kind=DecodeKind.FINAL), Priority.FINAL),
    ]
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert [what for what, _ in batches(fake_engine)] == ["beam", "greedy", "beam_with_fallback"]


def test_only_windows_of_one_group_are_decoded_together(fake_engine, scheduler, busy):
    futures = [
        scheduler.submit(window(f"s{index}", frames=frames, language=language), Priority.PARTIAL)
        for index, (frames, language) in enumerate([(500, "en"), (1000, "en"), (500, "ko"), (500, "en")])
    ]
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert sorted(batches(fake_engine)) == [("greedy", 1), ("greedy", 1), ("greedy", 2)]


def test_a_batch_has_no_more_frames_than_fit(fake_engine, scheduler, busy):
    futures = [scheduler.submit(window(f"s{index}", frames=2000), Priority.PARTIAL) for index in range(7)]
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert [rows for _, rows in batches(fake_engine)] == [3, 3, 1]


def test_a_tenant_with_many_sessions_does_not_starve_another(fake_engine, scheduler, busy):
    many = [scheduler.submit(window(f"m{index}", tenant="many"), Priority.PARTIAL) for index in range(30)]
    few = [scheduler.submit(window(f"f{index}", tenant="few"), Priority.PARTIAL) for index in range(4)]
    order = []
    for future in [*many, *few]:
        future.add_done_callback(order.append)
    fake_engine.unblocked.set()
    wait([*many, *few], 10)
    assert sum(future in few for future in order[:8]) == 4


def test_a_session_does_not_starve_another(fake_engine, scheduler, busy):
    greedy = [scheduler.submit(window("greedy"), Priority.FINAL) for _ in range(20)]
    modest = scheduler.submit(window("modest"), Priority.FINAL)
    order = []
    for future in [*greedy, modest]:
        future.add_done_callback(order.append)
    fake_engine.unblocked.set()
    wait([*greedy, modest], 10)
    assert order.index(modest) < 8


def test_batch_work_that_waited_long_goes_first_in_small_batches(fake_engine, scheduler, clock, busy):
    scheduler.session_opened()
    late = [scheduler.submit(window(kind=DecodeKind.BATCH), Priority.BATCH) for _ in range(8)]
    clock.now += BATCH_MAX_WAIT_SECONDS
    live = [scheduler.submit(window(f"s{index}", kind=DecodeKind.FINAL), Priority.FINAL) for index in range(8)]
    fake_engine.unblocked.set()
    wait([*late, *live], 10)
    # Overdue, it goes first, in small batches; the windows' own clock is stopped here.
    assert batches(fake_engine)[0] == ("beam_with_fallback", 2)
    assert Counter(what for what, _ in batches(fake_engine))["beam"] == 1


def test_partials_do_not_wait_for_finals_indefinitely(fake_engine, scheduler, clock):
    for _ in range(7):  # batches take no time, on average
        scheduler.submit(window(), Priority.PARTIAL).result(10)
        assert fake_engine.batch_started.acquire(timeout=10)
    fake_engine.unblocked.clear()
    scheduler.submit(window("busy"), Priority.FINAL)
    assert fake_engine.batch_started.acquire(timeout=10)
    overdue = scheduler.submit(window("a"), Priority.PARTIAL)
    clock.now += PARTIAL_MIN_WAIT_SECONDS * 2
    fresh = scheduler.submit(window("b", frames=1000), Priority.PARTIAL)
    final = scheduler.submit(window("c", kind=DecodeKind.FINAL, frames=1500), Priority.FINAL)
    order = []
    for future in (overdue, fresh, final):
        future.add_done_callback(order.append)
    fake_engine.unblocked.set()
    wait([overdue, fresh, final], 10)
    assert order == [overdue, final, fresh]


def test_batch_work_fills_batches_while_no_session_is_open(fake_engine, scheduler, busy):
    futures = [scheduler.submit(window(kind=DecodeKind.BATCH), Priority.BATCH) for _ in range(8)]
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert batches(fake_engine) == [("beam_with_fallback", 8)]


def test_a_newer_window_replaces_the_one_that_waits(fake_engine, scheduler, busy):
    old = scheduler.submit(window("a"), Priority.PARTIAL)
    new = scheduler.submit(window("a"), Priority.PARTIAL, replaces=old)
    assert scheduler.depth()["partial"] == 1
    fake_engine.unblocked.set()
    assert new.result(10).text
    assert old.cancelled()
    assert batches(fake_engine) == [("greedy", 1)]


def test_a_running_window_is_not_replaced(fake_engine, scheduler, busy):
    new = scheduler.submit(window("busy"), Priority.PARTIAL, replaces=busy)
    fake_engine.unblocked.set()
    wait([busy, new], 10)
    assert busy.result().text
    assert new.result().text


def test_a_closed_session_costs_nothing_more(fake_engine, scheduler, busy):
    scheduler.session_opened()
    cancelled = [scheduler.submit(window("gone"), Priority.FINAL) for _ in range(3)]
    stays = scheduler.submit(window("stays"), Priority.FINAL)
    scheduler.session_closed("t", "gone")
    fake_engine.unblocked.set()
    assert stays.result(10).text
    assert all(future.cancelled() for future in cancelled)
    assert batches(fake_engine) == [("greedy", 1)]


def test_windows_with_raised_priority_go_before_partials(fake_engine, scheduler, busy):
    others = [scheduler.submit(window("o", frames=1000), Priority.PARTIAL) for _ in range(2)]
    mine = scheduler.submit(window("m"), Priority.PARTIAL)
    scheduler.raise_priority("m")
    assert scheduler.depth() == {"final": 1, "partial": 2, "batch": 0}
    fake_engine.unblocked.set()
    wait([*others, mine], 10)
    assert batches(fake_engine) == [("greedy", 1), ("greedy", 2)]


def test_a_bad_window_fails_alone_and_reveals_nothing_of_its_content(fake_engine, scheduler, busy):
    good = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(3)]
    bad = scheduler.submit(window("bad", audio=np.full(16_000, POISON)), Priority.PARTIAL)
    fake_engine.unblocked.set()
    wait([*good, bad], 10)
    assert all(future.result().text for future in good)
    error = bad.exception()
    assert isinstance(error, WorkError)
    assert error.reason is FailureReason.INTERNAL
    assert "secret" not in error.message
    assert batches(fake_engine) == [("greedy", 4), ("greedy", 1), ("greedy", 1), ("greedy", 1), ("greedy", 1)]


def test_a_window_that_cannot_be_loaded_fails_alone(fake_engine, scheduler, busy):
    def missing():
        raise KeyError("gone")

    good = scheduler.submit(window("a"), Priority.PARTIAL)
    bad = scheduler.submit(Window(DecodeKind.DRAFT, "t", "b", 500, missing, "en"), Priority.PARTIAL)
    fake_engine.unblocked.set()
    wait([good, bad], 10)
    assert good.result().text
    assert isinstance(bad.exception(), WorkError)


def test_out_of_memory_halves_batches_from_then_on(fake_engine, scheduler, busy):
    fake_engine.max_windows = 2
    futures = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(8)]
    fake_engine.unblocked.set()
    wait(futures, 10)
    assert all(future.result().text for future in futures)
    assert [rows for _, rows in batches(fake_engine)][:3] == [8, 4, 2]
    fake_engine.calls.clear()
    fake_engine.unblocked.clear()
    held = scheduler.submit(window("held"), Priority.PARTIAL)
    while not fake_engine.calls:
        assert fake_engine.batch_started.acquire(timeout=10)
    more = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(4)]
    fake_engine.unblocked.set()
    wait([held, *more], 10)
    assert [rows for _, rows in batches(fake_engine)] == [2, 2]


def test_one_window_that_does_not_fit_fails_as_out_of_memory():
    engine = FakeEngine(max_windows=0)
    scheduler = Scheduler(engine)
    error = scheduler.submit(window(), Priority.FINAL).exception(10)
    scheduler.close()
    assert isinstance(error, WorkError)
    assert error.reason is FailureReason.OUT_OF_MEMORY


def test_closing_cancels_what_waits_and_ends_after_what_runs(fake_engine, scheduler, busy):
    waiting = scheduler.submit(window(), Priority.FINAL)
    fake_engine.unblocked.set()
    scheduler.close()
    assert busy.result(10).text
    with pytest.raises(CancelledError):
        waiting.result(10)
    with pytest.raises(SchedulerClosed):
        scheduler.submit(window(), Priority.FINAL)
