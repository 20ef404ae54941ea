from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_kube.backoff import Backoff
from steno_operator.control.reconcile.work_queue import RetryError, WorkQueue


class Worker:
    """Records what a queue hands out; `answers` are returned, raised, or awaited in turn."""

    def __init__(self, *answers):
        self.seen = []
        self.answers = list(answers)
        self.at_once = 0
        self.most = 0
        self.wanted = 0
        self.enough = asyncio.Event()

    async def __call__(self, key):
        self.seen.append(key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            answer = self.answers.pop(0) if self.answers else None
            if callable(answer):
                answer = await answer()
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.at_once -= 1
            if len(self.seen) >= self.wanted:
                self.enough.set()


async def work(queue, worker, wanted, workers=1):
    """Runs until the worker was called `wanted` times."""
    worker.wanted = wanted
    task = asyncio.create_task(queue.run(worker, workers))
    try:
        await asyncio.wait_for(worker.enough.wait(), 10)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_key_is_queued_once():
    queue, worker = WorkQueue(), Worker()
    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    await work(queue, worker, 2)
    assert worker.seen == ["a", "b"]


async def test_h2_groups_take_turns_however_many_keys_one_of_them_has():
    queue, worker = WorkQueue(group=lambda key: key[0]), Worker()
    for number in range(5000):
        queue.add(("flood", number))
    queue.add(("calm", 1))
    queue.add(("calm", 2))
    queue.add(("", "tenant"))
    assert len(queue) == 5003
    await work(queue, worker, 6)
    assert worker.seen[:6] == [("flood", 0), ("calm", 1), ("", "tenant"), ("flood", 1), ("calm", 2), ("flood", 2)]


async def test_h2_a_group_that_never_ends_delays_another_by_one_key():
    queue = WorkQueue(group=lambda key: key[0])

    class Busy(Worker):
        async def __call__(self, key):
            if key == ("flood", 7):
                queue.add(("calm", 1))
            queue.add(("flood", key[1]))  # again and again
            return await super().__call__(key)

    worker = Busy()
    for number in range(10):
        queue.add(("flood", number))
    await work(queue, worker, 12)
    assert worker.seen.index(("calm", 1)) - worker.seen.index(("flood", 7)) <= 2


async def test_a_key_added_while_worked_on_is_worked_on_again_and_never_twice_at_once():
    queue, released = WorkQueue(), asyncio.Event()

    async def add_and_wait():
        queue.add("a")
        queue.add("a")
        await released.wait()

    worker = Worker(add_and_wait)
    queue.add("a")
    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(released.set))
    await work(queue, worker, 2, workers=4)
    assert worker.seen == ["a", "a"]
    assert worker.most == 1


async def test_different_keys_run_side_by_side():
    queue, both = WorkQueue(), asyncio.Barrier(2)
    worker = Worker(both.wait, both.wait)
    queue.add("a")
    queue.add("b")
    await work(queue, worker, 2, workers=2)
    assert worker.most == 2


async def test_errors_back_off_and_success_forgets():
    queue = WorkQueue(Backoff(0.01, 0.02))
    worker = Worker(ValueError("once"), ValueError("twice"), None)
    queue.add("a")
    await work(queue, worker, 3)
    assert worker.seen == ["a"] * 3
    assert not queue._failures


async def test_a_retry_after_nothing_comes_at_once():
    queue = WorkQueue(Backoff(1000, 1000))
    worker = Worker(RetryError("changed", after=0), None)
    queue.add("a")
    await work(queue, worker, 2)
    assert worker.seen == ["a", "a"]


async def test_of_several_delays_the_earliest_counts():
    queue, worker = WorkQueue(), Worker()
    queue.add_after("a", 1000)
    queue.add_after("a", 0.01)
    queue.add_after("a", 500)
    await work(queue, worker, 1)
    assert worker.seen == ["a"]


async def test_what_the_worker_asks_for_is_a_delay():
    queue = WorkQueue()
    worker = Worker(0.01, None)
    queue.add("a")
    await work(queue, worker, 2)
    assert worker.seen == ["a", "a"]


async def test_the_busiest_key_is_told():
    queue, released = WorkQueue(), asyncio.Event()
    assert queue.longest_running() is None
    worker = Worker(released.wait)
    queue.add("a")
    task = asyncio.create_task(queue.run(worker, 1))
    while not worker.seen:  # noqa: ASYNC110 - the queue's own tasks are being waited for
        await asyncio.sleep(0)
    found = queue.longest_running()
    assert found is not None
    assert found[0] == "a"
    released.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@given(failures=st.integers(1, 10_000), draw=st.floats(0, 1))
def test_backoff_stays_in_bounds(failures, draw):
    backoff = Backoff(0.5, 30)
    delay = backoff.delay(failures, lambda: draw)
    full = min(30, 0.5 * 2 ** min(failures - 1, 32))
    assert full / 2 <= delay <= full


class BusyError(Exception):
    retry_after = 0.5


async def test_an_expected_error_makes_no_traceback_and_may_say_when_to_come_back(caplog):
    queue = WorkQueue(Backoff(0.001, 0.001), expected=(BusyError,))
    worker = Worker(BusyError("try later"), None)
    queue.add("a")
    began = asyncio.get_running_loop().time()
    await work(queue, worker, 2)
    assert asyncio.get_running_loop().time() - began >= 0.5
    [record] = [record for record in caplog.records if "try later" in record.getMessage()]
    assert record.exc_info is None
