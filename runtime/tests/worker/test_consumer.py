"""What becomes of a message: asked about, worked on, reported until recorded, and only then forgotten."""

from __future__ import annotations

import asyncio

import pytest

from steno_api.worker.report import AttemptAnswer
from steno_queue.errors import QueueUnavailableError

from .consuming import ENDED, SECONDS, WEB, Pool, message_of


@pytest.fixture
def make_task(make_task):
    return lambda **changes: make_task(**WEB | changes)


async def test_a_message_is_forgotten_once_its_end_is_recorded(make_task, tmp_path):
    refusals = iter([None, AttemptAnswer(recorded=False)])

    def answer(report):
        return AttemptAnswer() if report.ended is None else next(refusals, AttemptAnswer(recorded=True))

    pool = Pool(tmp_path, answer=answer)
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed():
        progress = await pool.operator.reported(lambda report: report.progress is not None)
        pool.worker.finish.set()
        await pool.empty()
    first, *_, last = pool.operator.reports
    assert (first.progress, first.ended) == (None, None)
    assert (progress.job.uid, progress.attempt, progress.kind) == ("uid-1", 1, "TranscriptionTask")
    assert last.ended == ENDED
    assert [report.ended for report in pool.operator.reports].count(ENDED) == 3
    assert len({report.process for report in pool.operator.reports}) == 1
    assert pool.worker.begun == ["uid-1/1"]


async def test_what_is_not_wanted_or_recorded_already_is_forgotten_unseen(make_task, tmp_path):
    answers = {1: AttemptAnswer(wanted=False), 2: AttemptAnswer(recorded=True)}
    pool = Pool(tmp_path, answer=lambda report: answers[report.attempt])
    for attempt in answers:
        await pool.queue.publish(message_of(make_task(attempt=attempt)))
    async with pool.consumed():
        await pool.empty()
    assert pool.worker.begun == []
    assert sorted(report.attempt for report in pool.operator.reports) == [1, 2]


async def test_while_the_operator_is_away_a_message_is_kept_and_not_worked_on(make_task, tmp_path):
    pool = Pool(tmp_path, visibility=1.0, answer=lambda _: None)
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed():
        await pool.operator.reported(lambda _: True)
        while len(pool.operator.reports) < 4:
            assert await pool.queue.receive(1, 0.1) == []
        assert pool.worker.begun == []
        pool.operator.answer = lambda report: AttemptAnswer(recorded=report.ended is not None)
        pool.worker.finish.set()
        await pool.empty()
    assert pool.worker.begun == ["uid-1/1"]


async def test_a_job_that_is_cancelled_meanwhile_stops_and_is_forgotten(make_task, tmp_path):
    pool = Pool(tmp_path, answer=lambda report: AttemptAnswer(wanted=report.progress is None))
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed():
        await pool.empty()
    assert pool.worker.begun == ["uid-1/1"]
    assert pool.operator.reports[-1].ended.result is None
    assert pool.operator.reports[-1].ended.used.audio_millis == 3


async def test_a_drain_gives_back_what_it_cannot_finish(make_task, tmp_path):
    pool = Pool(tmp_path)
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed() as consumer:
        await pool.operator.reported(lambda report: report.progress is not None)
        await consumer.drain(asyncio.get_running_loop().time())
        (delivery,) = await pool.queue.receive()
        assert delivery.receives == 2
    assert pool.operator.reports[-1].ended.result is None


async def test_a_drain_waits_for_what_it_can_finish_and_takes_nothing_more(make_task, tmp_path):
    pool = Pool(tmp_path)
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed(at_once=1) as consumer:
        await pool.operator.reported(lambda report: report.progress is not None)
        await pool.queue.publish(message_of(make_task(attempt=2)))
        draining = asyncio.create_task(consumer.drain(asyncio.get_running_loop().time() + SECONDS))
        await asyncio.sleep(0)
        pool.worker.finish.set()
        await draining
    assert pool.worker.begun == ["uid-1/1"]
    assert (await pool.queue.depth()).waiting == 1


async def test_work_that_takes_longer_than_the_lease_keeps_its_message(make_task, tmp_path):
    pool = Pool(tmp_path, visibility=1.0)
    await pool.queue.publish(message_of(make_task()))
    async with pool.consumed():
        await pool.operator.reported(lambda report: report.progress is not None)
        assert await pool.queue.receive(1, 1.4) == []
        pool.worker.finish.set()
        await pool.empty()
    assert pool.worker.begun == ["uid-1/1"]


async def test_a_queue_that_is_away_for_a_while_is_waited_for(make_task, tmp_path):
    pool = Pool(tmp_path)

    class Away:
        left = 2

        async def receive(self, limit, wait):
            if self.left:
                self.left -= 1
                raise QueueUnavailableError("it is away")
            return await pool.queue.receive(limit, wait)

    await pool.queue.publish(message_of(make_task()))
    pool.worker.finish.set()
    async with pool.consumed(queue=Away()):
        await pool.empty()
    assert pool.worker.begun == ["uid-1/1"]


async def test_several_attempts_go_on_at_once(make_task, tmp_path):
    pool = Pool(tmp_path)
    for attempt in (1, 2, 3):
        await pool.queue.publish(message_of(make_task(attempt=attempt)))
    async with pool.consumed(at_once=2):
        for attempt in (1, 2):
            await pool.operator.reported(lambda report, it=attempt: report.attempt == it and report.progress)
        assert sorted(pool.worker.begun) == ["uid-1/1", "uid-1/2"]
        pool.worker.finish.set()
        await pool.empty()
    assert sorted(pool.worker.begun) == ["uid-1/1", "uid-1/2", "uid-1/3"]


async def test_attempts_that_turn_out_to_be_brief_make_room_for_more(make_task, tmp_path):
    pool = Pool(tmp_path)
    pool.worker.brief = True
    for attempt in (1, 2, 3, 4):
        await pool.queue.publish(message_of(make_task(attempt=attempt)))
    async with pool.consumed(at_once=1, brief_at_once=2):
        for attempt in (1, 2, 3):
            await pool.operator.reported(lambda report, it=attempt: report.attempt == it and report.progress)
        assert (await pool.queue.depth()).waiting == 1
        pool.worker.finish.set()
        await pool.empty()
    assert sorted(pool.worker.begun) == ["uid-1/1", "uid-1/2", "uid-1/3", "uid-1/4"]


async def test_until_it_is_known_that_an_attempt_is_brief_it_counts_as_a_long_one(make_task, tmp_path):
    pool = Pool(tmp_path)
    for attempt in (1, 2):
        await pool.queue.publish(message_of(make_task(attempt=attempt)))
    async with pool.consumed(at_once=1, brief_at_once=5):
        await pool.operator.reported(lambda report: report.progress is not None)
        assert await pool.queue.receive(0) == []
        assert (await pool.queue.depth()).waiting == 1
        pool.worker.finish.set()
        await pool.empty()
    assert sorted(pool.worker.begun) == ["uid-1/1", "uid-1/2"]


async def test_a_drain_waits_for_brief_attempts_too(make_task, tmp_path):
    pool = Pool(tmp_path)
    pool.worker.brief = True
    for attempt in (1, 2, 3):
        await pool.queue.publish(message_of(make_task(attempt=attempt)))
    async with pool.consumed(at_once=1, brief_at_once=2) as consumer:
        for attempt in (1, 2, 3):
            await pool.operator.reported(lambda report, it=attempt: report.attempt == it and report.progress)
        await consumer.drain(asyncio.get_running_loop().time())
        given_back = await pool.queue.receive(3)
    assert [delivery.receives for delivery in given_back] == [2, 2, 2]


async def test_the_keys_that_the_operator_names_prove_the_results(make_task, tmp_path):
    key = b"k" * 32
    pool = Pool(tmp_path, answer=lambda report: AttemptAnswer(recorded=bool(report.ended), keys=[key.hex()]))
    pool.worker.finish.set()
    await pool.queue.publish(message_of(make_task()).with_proof(key))
    async with pool.consumed():
        await pool.empty()
    assert pool.worker.keys == [[key]]


@pytest.mark.parametrize("forged", ["unsigned", "of another job", "altered"])
async def test_a_message_that_the_operator_did_not_make_is_a_dead_letter(make_task, tmp_path, forged):
    """Who may write the queue does not have other work done for a job that waits, under the job's name."""
    key = b"k" * 32
    pool = Pool(tmp_path, answer=lambda report: AttemptAnswer(recorded=bool(report.ended), keys=[key.hex()]))
    pool.worker.finish.set()
    message = message_of(make_task(**WEB)).with_proof(b"o" * 32 if forged == "of another job" else key)
    elsewhere = {**message.data, "source": {"uri": "https://elsewhere.example/b.wav"}}
    changes = {"unsigned": {"proof": None}, "of another job": {}, "altered": {"data": elsewhere}}[forged]
    await pool.queue.publish(message.model_copy(update=changes))
    genuine = make_task(**WEB, job={"namespace": "team-a", "name": "b", "uid": "uid-2"})
    await pool.queue.publish(message_of(genuine).with_proof(key))
    async with pool.consumed():
        await pool.empty()
    (letter,) = await pool.queue.dead_letters()
    assert "The operator did not make this message" in letter.reason
    assert pool.worker.begun == ["uid-2/1"]
