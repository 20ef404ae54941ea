"""What every queue does, whatever server is behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from steno_queue.errors import MessageTooLargeError, QueueUnavailableError
from steno_queue.interface import Delivery, Queue

from .backends import Backend, make_message

SECONDS = 20.0
"""Nothing here takes as long; a test that waits longer has failed."""


async def receive(queue: Queue, limit: int = 1) -> list[Delivery]:
    """Wait for messages."""
    found = await queue.receive(limit, SECONDS)
    assert found, "nothing came"
    return found


async def receive_all(queue: Queue, wanted: int) -> list[Delivery]:
    """Wait for so many messages."""
    found: list[Delivery] = []
    while len(found) < wanted:
        found += await receive(queue, min(10, wanted - len(found)))
    return found


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a call returns once that is not empty."""
    deadline = time.monotonic() + SECONDS
    while not (value := await found()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return value


async def test_a_message_arrives_as_it_was_published(make_backend):
    backend = await make_backend()
    message = make_message()
    assert await backend.connect().publish(message)
    (delivery,) = await receive(backend.connect())
    assert delivery.message == message
    assert delivery.message.task().document_id == "계약서"
    assert delivery.receives == 1


@pytest.mark.parametrize("text", ["\x00\x1f\x7f", "\u2028\ufffe\uffff", "😀\ud7ff", '"\\n'])
async def test_every_character_arrives(make_backend, text):
    backend = await make_backend()
    message = make_message(subject=text)
    await backend.connect().publish(message)
    assert [each.message for each in await receive(backend.connect())] == [message]


async def test_what_is_acknowledged_is_gone(make_backend):
    queue = (await make_backend()).connect()
    await queue.publish(make_message())
    (delivery,) = await receive(queue)
    await delivery.ack()
    await delivery.ack()
    assert await queue.receive() == []
    depth = await queue.depth()
    assert (depth.waiting, depth.in_flight) == (0, 0)


async def test_an_id_that_is_published_twice_is_delivered_once(make_backend):
    backend = await make_backend()
    queue, other = backend.connect(), backend.connect()
    message = make_message()
    again = [await queue.publish(message), await other.publish(message), await other.publish(message)]
    (first, *more) = await receive(queue, 10)
    if not queue.deduplicates:
        assert {each.message.id for each in more} <= {message.id}  # the consumer tells by the id
        return
    assert more == []
    assert again[0]
    await queue.publish(message)
    assert await queue.receive() == []
    await first.ack()
    await queue.publish(message)
    assert await queue.receive() == []
    await queue.publish(make_message(attempt=2))
    assert [each.message.id for each in await receive(queue)] == ["uid/2"]


async def test_a_lost_consumers_message_is_delivered_to_another(make_backend):
    backend = await make_backend(short=True)
    lost, other = backend.connect(), backend.connect()
    message = make_message()
    await lost.publish(message)
    await receive(lost)
    assert await other.receive() == []
    (delivery,) = await receive(other)
    assert (delivery.message, delivery.receives) == (message, 2)


async def test_a_message_that_is_extended_stays_with_its_consumer(make_backend):
    backend = await make_backend(short=True)
    queue, other = backend.connect(), backend.connect()
    await queue.publish(make_message())
    visibility, since = backend.settings.visibility_seconds, time.monotonic()
    (delivery,) = await receive(queue)
    for _ in range(3):  # longer than the timeout, together
        extended = time.monotonic()
        kept = await delivery.extend()
        if time.monotonic() > since + visibility:
            break  # a busy machine slept over it
        assert kept
        since = extended
        found = await other.receive(wait=0.6 * visibility)
        if time.monotonic() < since + visibility:
            assert found == []
    (again,) = await receive(other)
    assert again.receives >= 2


async def test_a_consumer_learns_that_its_lease_has_ended_and_may_still_acknowledge(make_backend):
    backend = await make_backend(short=True)
    slow, other = backend.connect(), backend.connect()
    await slow.publish(make_message())
    (late,) = await receive(slow)
    (delivery,) = await receive(other)
    if backend.settings.kind != "SQS":  # which does not tell for certain
        assert not await late.extend()
        await late.release()
        assert await delivery.extend()
    await late.ack()
    await delivery.ack()
    assert (await slow.depth()).waiting == 0


async def test_what_is_released_comes_again(make_backend):
    backend = await make_backend()
    queue, other = backend.connect(), backend.connect()
    await queue.publish(make_message())
    for receives in (1, 2, 3):
        (delivery,) = await receive(other)
        assert delivery.receives == receives
        await delivery.release()


async def test_what_is_released_with_a_delay_comes_then(make_backend):
    queue = (await make_backend()).connect()
    await queue.publish(make_message())
    (delivery,) = await receive(queue)
    released = time.monotonic()
    await delivery.release(1)
    found, depth = await queue.receive(), await queue.depth()
    if time.monotonic() < released + 1:
        assert (found, depth.in_flight) == ([], 1)
    (delivery,) = found or await receive(queue)
    assert time.monotonic() - released >= 0.9
    assert delivery.receives == 2


async def test_what_nobody_finishes_goes_to_the_dead_letters(make_backend):
    queue = (await make_backend(max_receives=2)).connect()
    message = make_message()
    await queue.publish(message)
    for _ in range(2):
        (delivery,) = await receive(queue)
        await delivery.release()
    assert await queue.receive() == []
    (letter,) = await until(queue.dead_letters)
    assert letter.message == message
    assert "none of them finished it" in letter.reason
    assert (await queue.depth()).waiting == 0
    await letter.ack()
    assert await queue.dead_letters() == []


async def test_a_rejected_message_goes_to_the_dead_letters_with_its_reason(make_backend):
    queue = (await make_backend()).connect()
    await queue.publish(make_message())
    (delivery,) = await receive(queue)
    await delivery.reject("이유: it cannot be")
    (letter,) = await until(queue.dead_letters)
    assert (letter.message, letter.reason, letter.receives) == (delivery.message, "이유: it cannot be", 1)
    assert await queue.receive() == []


@pytest.mark.parametrize("body", ["no JSON", "[1]", '{"specversion": "0.3"}', "[" * 9000])
async def test_a_malformed_message_goes_to_the_dead_letters_at_once(make_backend, body):
    backend = await make_backend()
    queue = backend.connect()
    await queue.depth()
    await backend.put_raw(body)
    message = make_message()
    await queue.publish(message)
    (letter,) = await until(lambda: dead_letters_of(queue))
    assert letter.body == body
    assert letter.message is None
    assert "not a message of Steno" in letter.reason
    found = await queue.receive(10)
    assert [each.message for each in found] in ([message], [])  # it may have come in `dead_letters_of`


async def dead_letters_of(queue: Queue):
    for delivery in await queue.receive(10):
        await delivery.release()
    return await queue.dead_letters()


async def test_high_priority_comes_first_and_equal_priority_in_order(make_backend):
    backend = await make_backend()
    queue = backend.connect()
    for uid, priority in (("a", 0), ("b", -1), ("c", 5), ("d", 0), ("e", 1)):
        await queue.publish(make_message(uid, priority=priority))
    order = [(await receive(queue))[0].message.subject[-1] for _ in range(5)]
    assert set(order[:2]) == {"c", "e"}
    assert set(order[2:4]) == {"a", "d"}
    assert order[4] == "b"
    if backend.settings.kind != "SQS":
        assert order == ["c", "e", "a", "d", "b"]


async def test_two_consumers_share_the_messages(make_backend):
    backend = await make_backend()
    queues = [backend.connect(), backend.connect()]
    uids = [f"m{number}" for number in range(12)]
    for uid in uids:
        await queues[0].publish(make_message(uid))
    shares = await asyncio.gather(*(receive_all(queue, 6) for queue in queues))
    seen = [each.message.id for share in shares for each in share]
    assert sorted(seen) == sorted(f"{uid}/1" for uid in uids)


async def test_no_more_are_delivered_than_wanted(make_backend):
    queue = (await make_backend()).connect()
    for priority in (1, 1, 0, 0, -1, -1):
        await queue.publish(make_message(f"p{priority}-{time.monotonic_ns()}", priority=priority))
    assert len(await queue.receive(1)) == 1
    assert len(await queue.receive(3)) <= 3


async def test_one_that_waits_is_given_what_is_published_meanwhile(make_backend):
    backend = await make_backend()
    queue = backend.connect()
    assert await queue.receive() == []
    waiting = asyncio.create_task(receive(queue))
    assert await backend.connect().publish(make_message(priority=-3))
    assert len(await waiting) == 1


async def test_depth_and_age(make_backend):
    backend = await make_backend()
    queue = backend.connect()
    empty = await queue.depth()
    assert (empty.waiting, empty.in_flight) == (0, 0)
    for uid, priority in (("a", 0), ("b", 1), ("c", -1)):
        await queue.publish(make_message(uid, priority=priority))
    (delivery,) = await receive(queue)
    depth = await queue.depth()
    assert (depth.waiting, depth.in_flight) == (2, 1)
    if backend.settings.kind == "SQS":
        assert depth.oldest_age_seconds is None
        return
    assert empty.oldest_age_seconds == 0
    assert 0 <= depth.oldest_age_seconds < SECONDS
    await delivery.release()
    assert (await queue.depth()).waiting == 3


async def test_a_message_that_is_too_large_is_refused(make_backend):
    queue = (await make_backend()).connect()
    message = make_message(data={"text": "가" * 100_000})
    with pytest.raises(MessageTooLargeError, match="takes 262144"):
        await queue.publish(message)
    assert await queue.receive() == []
    fits = make_message(data={"text": "x" * 200_000})
    await queue.publish(fits)
    assert (await receive(queue))[0].message == fits


async def test_a_server_that_is_down_is_an_error_and_works_again_when_it_is_back(make_backend):
    backend: Backend = await make_backend()
    if backend.down is None:
        return  # it is in this process, and cannot be away
    queue = backend.connect()
    await queue.publish(make_message("before"))
    (held,) = await receive(queue)
    await backend.down()
    for call in (lambda: queue.publish(make_message("meanwhile")), queue.receive, held.ack):
        with pytest.raises(QueueUnavailableError):
            await call()
    await backend.up()
    assert await held.extend()
    await held.ack()
    await queue.publish(make_message("after"))
    assert [each.message.subject for each in await receive(queue)] == ["team/job-after"]
