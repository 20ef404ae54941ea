from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stream.scheduler import (
    BATCH_PATIENCE,
    LEAST_PATIENCE,
    Kind,
    Priority,
    Scheduler,
    SchedulerClosed,
    Window,
)

from .fake import POISON, FakeEngine

AUDIO = np.zeros(16_000, np.float32)


def window(session="s", *, tenant="t", kind=Kind.DRAFT, frames=500, language="en", audio=AUDIO) -> Window:
    return Window(kind, tenant, session, frames, lambda: audio, language)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scheduler(fake, clock):
    made = Scheduler(fake, clock=clock)
    yield made
    fake.go.set()
    made.close()


@pytest.fixture
def busy(fake, scheduler):
    """The engine is in the middle of a batch until `go` is set."""
    fake.go.clear()
    running = scheduler.submit(window("busy"), Priority.FINAL)
    assert fake.entered.acquire(timeout=10)
    return running


def batches(fake) -> list[tuple[str, int]]:
    return [(what, len(windows)) for what, _, windows in fake.calls[1:]]


def test_an_idle_engine_is_given_a_window_at_once(fake, scheduler):
    assert scheduler.idle
    assert scheduler.submit(window(), Priority.PARTIAL).result(10).text
    assert batches(fake) == []
    assert scheduler.decodes()["draft"] == 1


def test_windows_of_many_sessions_gather_while_it_is_busy(fake, scheduler, busy):
    futures = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(8)]
    assert scheduler.depth() == {"final": 0, "partial": 8, "batch": 0}
    assert not scheduler.idle
    fake.go.set()
    wait(futures, 10)
    assert batches(fake) == [("draft", 8)]


def test_finals_then_partials_then_batch_work(fake, scheduler, busy):
    futures = [
        scheduler.submit(window(kind=Kind.BATCH), Priority.BATCH),
        scheduler.submit(window(), Priority.PARTIAL),
        scheduler.submit(window(kind=Kind.FINAL), Priority.FINAL),
    ]
    fake.go.set()
    wait(futures, 10)
    assert [what for what, _ in batches(fake)] == ["final", "draft", "batch"]


def test_only_windows_alike_are_decoded_together(fake, scheduler, busy):
    futures = [
        scheduler.submit(window(f"s{index}", frames=frames, language=language), Priority.PARTIAL)
        for index, (frames, language) in enumerate([(500, "en"), (1000, "en"), (500, "ko"), (500, "en")])
    ]
    fake.go.set()
    wait(futures, 10)
    assert sorted(batches(fake)) == [("draft", 1), ("draft", 1), ("draft", 2)]


def test_a_batch_has_no_more_frames_than_fit(fake, scheduler, busy):
    futures = [scheduler.submit(window(f"s{index}", frames=2000), Priority.PARTIAL) for index in range(7)]
    fake.go.set()
    wait(futures, 10)
    assert [rows for _, rows in batches(fake)] == [3, 3, 1]


def test_a_tenant_with_many_sessions_does_not_starve_another(fake, scheduler, busy):
    many = [scheduler.submit(window(f"m{index}", tenant="many"), Priority.PARTIAL) for index in range(30)]
    few = [scheduler.submit(window(f"f{index}", tenant="few"), Priority.PARTIAL) for index in range(4)]
    order = []
    for future in [*many, *few]:
        future.add_done_callback(order.append)
    fake.go.set()
    wait([*many, *few], 10)
    assert sum(future in few for future in order[:8]) == 4


def test_a_session_does_not_starve_another(fake, scheduler, busy):
    greedy = [scheduler.submit(window("greedy"), Priority.FINAL) for _ in range(20)]
    modest = scheduler.submit(window("modest"), Priority.FINAL)
    order = []
    for future in [*greedy, modest]:
        future.add_done_callback(order.append)
    fake.go.set()
    wait([*greedy, modest], 10)
    assert order.index(modest) < 8


def test_batch_work_gets_its_turn_in_the_end(fake, scheduler, clock, busy):
    scheduler.joined()
    late = [scheduler.submit(window(kind=Kind.BATCH), Priority.BATCH) for _ in range(8)]
    clock.now += BATCH_PATIENCE
    live = [scheduler.submit(window(f"s{index}", kind=Kind.FINAL), Priority.FINAL) for index in range(8)]
    fake.go.set()
    wait([*late, *live], 10)
    # Overdue, it goes first, in small batches; the windows' own time stands still here.
    assert batches(fake)[0] == ("batch", 2)
    assert Counter(what for what, _ in batches(fake))["final"] == 1


def test_partials_do_not_wait_for_finals_for_ever(fake, scheduler, clock):
    for _ in range(7):  # batches take no time, on average
        scheduler.submit(window(), Priority.PARTIAL).result(10)
        assert fake.entered.acquire(timeout=10)
    fake.go.clear()
    scheduler.submit(window("busy"), Priority.FINAL)
    assert fake.entered.acquire(timeout=10)
    overdue = scheduler.submit(window("a"), Priority.PARTIAL)
    clock.now += LEAST_PATIENCE * 2
    fresh = scheduler.submit(window("b", frames=1000), Priority.PARTIAL)
    final = scheduler.submit(window("c", kind=Kind.FINAL, frames=1500), Priority.FINAL)
    order = []
    for future in (overdue, fresh, final):
        future.add_done_callback(order.append)
    fake.go.set()
    wait([overdue, fresh, final], 10)
    assert order == [overdue, final, fresh]


def test_batch_work_fills_batches_while_nobody_is_live(fake, scheduler, busy):
    futures = [scheduler.submit(window(kind=Kind.BATCH), Priority.BATCH) for _ in range(8)]
    fake.go.set()
    wait(futures, 10)
    assert batches(fake) == [("batch", 8)]


def test_a_newer_window_takes_the_place_of_the_one_that_waits(fake, scheduler, busy):
    old = scheduler.submit(window("a"), Priority.PARTIAL)
    new = scheduler.submit(window("a"), Priority.PARTIAL, replaces=old)
    assert scheduler.depth()["partial"] == 1
    fake.go.set()
    assert new.result(10).text
    assert old.cancelled()
    assert batches(fake) == [("draft", 1)]


def test_what_is_running_already_is_not_replaced(fake, scheduler, busy):
    new = scheduler.submit(window("busy"), Priority.PARTIAL, replaces=busy)
    fake.go.set()
    wait([busy, new], 10)
    assert busy.result().text
    assert new.result().text


def test_a_session_that_is_over_costs_nothing_more(fake, scheduler, busy):
    scheduler.joined()
    gone = [scheduler.submit(window("gone"), Priority.FINAL) for _ in range(3)]
    stays = scheduler.submit(window("stays"), Priority.FINAL)
    scheduler.left("t", "gone")
    fake.go.set()
    assert stays.result(10).text
    assert all(future.cancelled() for future in gone)
    assert batches(fake) == [("draft", 1)]


def test_what_a_final_waits_for_goes_before_partials(fake, scheduler, busy):
    others = [scheduler.submit(window("o", frames=1000), Priority.PARTIAL) for _ in range(2)]
    mine = scheduler.submit(window("m"), Priority.PARTIAL)
    scheduler.promote("m")
    assert scheduler.depth() == {"final": 1, "partial": 2, "batch": 0}
    fake.go.set()
    wait([*others, mine], 10)
    assert batches(fake) == [("draft", 1), ("draft", 2)]


def test_a_bad_window_fails_alone_and_says_nothing_of_its_content(fake, scheduler, busy):
    good = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(3)]
    bad = scheduler.submit(window("bad", audio=np.full(16_000, POISON)), Priority.PARTIAL)
    fake.go.set()
    wait([*good, bad], 10)
    assert all(future.result().text for future in good)
    error = bad.exception()
    assert isinstance(error, WorkError)
    assert error.reason is FailureReason.INTERNAL
    assert "secret" not in error.message
    assert batches(fake) == [("draft", 4), ("draft", 1), ("draft", 1), ("draft", 1), ("draft", 1)]


def test_a_window_that_cannot_be_loaded_fails_alone(fake, scheduler, busy):
    def missing():
        raise KeyError("gone")

    good = scheduler.submit(window("a"), Priority.PARTIAL)
    bad = scheduler.submit(Window(Kind.DRAFT, "t", "b", 500, missing, "en"), Priority.PARTIAL)
    fake.go.set()
    wait([good, bad], 10)
    assert good.result().text
    assert isinstance(bad.exception(), WorkError)


def test_out_of_memory_halves_batches_from_then_on(fake, scheduler, busy):
    fake.most_rows = 2
    futures = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(8)]
    fake.go.set()
    wait(futures, 10)
    assert all(future.result().text for future in futures)
    assert [rows for _, rows in batches(fake)][:3] == [8, 4, 2]
    fake.calls.clear()
    fake.go.clear()
    held = scheduler.submit(window("held"), Priority.PARTIAL)
    while not fake.calls:
        assert fake.entered.acquire(timeout=10)
    more = [scheduler.submit(window(f"s{index}"), Priority.PARTIAL) for index in range(4)]
    fake.go.set()
    wait([held, *more], 10)
    assert [rows for _, rows in batches(fake)] == [2, 2]


def test_one_window_that_does_not_fit_says_so():
    engine = FakeEngine(most_rows=0)
    scheduler = Scheduler(engine)
    error = scheduler.submit(window(), Priority.FINAL).exception(10)
    scheduler.close()
    assert isinstance(error, WorkError)
    assert error.reason is FailureReason.OUT_OF_MEMORY


def test_closing_cancels_what_waits_and_ends_behind_what_runs(fake, scheduler, busy):
    waiting = scheduler.submit(window(), Priority.FINAL)
    fake.go.set()
    scheduler.close()
    assert busy.result(10).text
    with pytest.raises(CancelledError):
        waiting.result(10)
    with pytest.raises(SchedulerClosed):
        scheduler.submit(window(), Priority.FINAL)
