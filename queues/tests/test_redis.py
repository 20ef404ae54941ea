"""What is special about Redis: data that is lost, users with few permissions, consumers that come and go."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from steno_queue.connect import open_queue
from steno_queue.errors import QueueDeniedError
from steno_queue.redis_streams import GROUP
from steno_queue.settings import QueueSettings

from .backends import Backend, make_message, memory, redis


@pytest.fixture
async def backend(redis_port) -> AsyncIterator[Backend]:
    made = await redis(redis_port)
    yield made
    await made.aclose()


@pytest.fixture
async def admin(redis_port) -> AsyncIterator[Redis]:
    async with Redis(port=redis_port, decode_responses=True) as client:
        yield client


async def test_a_queue_that_lost_its_data_takes_messages_again(backend, admin):
    queue, waiting = backend.connect(), backend.connect()
    message = make_message()
    assert await queue.publish(message)
    (held,) = await queue.receive()
    await admin.delete(*queue.streams)
    assert not await held.extend()
    assert (await queue.depth()).waiting == 0
    assert await queue.publish(message)  # under the same id: there is none of it
    assert not await queue.publish(message)
    assert [each.message for each in await waiting.receive()] == [message]


async def test_a_missing_group_does_not_lose_what_was_taken_before_it_was_missed(backend, admin):
    """Two consumers that begin together make the groups together: one may find the first and not yet the others."""
    queue = backend.connect()
    messages = [make_message(uid, priority=priority) for uid, priority in (("urgent", 1), ("usual", 0), ("bulk", -1))]
    for message in messages:
        assert await queue.publish(message)
    await admin.xgroup_create(queue.streams[0], GROUP, id="0")
    assert [each.message for each in await queue.receive(len(messages))] == messages


async def test_nothing_stays_but_the_ids_of_what_was_done_lately(backend, admin):
    queue = backend.connect()
    for uid in ("a", "b"):
        await queue.publish(make_message(uid))
        (delivery,) = await queue.receive()
        await delivery.ack()
    keys = {key: await admin.ttl(key) async for key in admin.scan_iter(f"steno:{{{backend.settings.name}}}*")}
    ids = [key for key in keys if ":id:" in key]
    assert len(ids) == 2
    assert all(0 < keys[key] <= 300 for key in ids)
    assert [await admin.xlen(stream) for stream in queue.streams] == [0, 0, 0]


async def test_a_consumer_that_closes_leaves_the_group_but_not_with_messages(backend, admin):
    idle, busy = open_queue(backend.settings), open_queue(backend.settings)
    await busy.publish(make_message())
    await busy.receive()
    await idle.receive()
    names = [idle.consumer, busy.consumer]
    await idle.aclose()
    await busy.aclose()
    left = [each["name"] for each in await admin.xinfo_consumers(busy.streams[1], "workers")]
    assert [name for name in names if name in left] == [busy.consumer]
    assert (await backend.connect().depth()).in_flight == 1


async def test_credentials_are_files_and_may_be_replaced(backend, admin, redis_port, tmp_path):
    url = f"redis://127.0.0.1:{redis_port}"
    await admin.acl_setuser("worker", enabled=True, passwords=["+right"], keys=["steno:*"], commands=["+@all"])
    (tmp_path / "username").write_text("worker\n")
    (tmp_path / "password").write_text("wrong")
    queue = open_queue(QueueSettings(kind="RedisStreams", url=url, name="team/acl", credentials_dir=tmp_path))
    with pytest.raises(QueueDeniedError, match="refuses the credentials") as caught:
        await queue.publish(make_message())
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    (tmp_path / "password").write_text("right\n")
    assert await queue.publish(make_message())
    await admin.acl_setuser("worker", enabled=True, commands=["-xadd"])
    with pytest.raises(QueueDeniedError, match="may run scripts"):
        await queue.publish(make_message("other"))
    await queue.aclose()


DOCUMENTED = re.findall(
    r"^ACL SETUSER steno (.*)$", (Path(__file__).parents[2] / "docs" / "operations.md").read_text(), re.MULTILINE
)


async def test_the_rights_that_the_documentation_lists_are_enough(admin, redis_port, tmp_path):
    (rule,) = DOCUMENTED
    await admin.execute_command("ACL", "SETUSER", "documented", *rule.replace("PASSWORD", "right").split())
    (tmp_path / "username").write_text("documented")
    (tmp_path / "password").write_text("right")
    url, name = f"redis://127.0.0.1:{redis_port}/1", "steno/team/rights"
    made = QueueSettings(kind="RedisStreams", url=url, name=name, credentials_dir=tmp_path, visibility_seconds=1)
    await admin.script_flush()
    queue, other = open_queue(made), open_queue(made)
    for number in range(4):
        assert await queue.publish(make_message(str(number)))
    done, refused, returned, lost = [(await queue.receive(1, 5))[0] for _ in range(4)]
    await done.ack()
    await refused.reject("why")
    assert await returned.extend()
    await returned.release()
    assert len(await other.receive(2, 5) + await other.receive(1, 5)) >= 2
    assert lost.message.id
    assert (await queue.depth()).in_flight
    (letter,) = await queue.dead_letters()
    await letter.ack()
    await queue.aclose()
    await other.aclose()


OPERATION = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 3), st.integers(-1, 1)),
    st.tuples(st.just("receive"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["ack", "release", "reject", "extend"]), st.integers(0, 5)),
)


@settings(deadline=None, max_examples=25)
@given(operations=st.lists(OPERATION, max_size=25))
def test_redis_and_memory_are_alike(redis_port, operations):
    """Both do the same and then have the same: whatever is published, received, finished or given back."""

    async def run() -> None:
        model, real = memory(visibility_seconds=60, max_receives=2), None
        try:
            real = await redis(redis_port, visibility_seconds=60, max_receives=2)
            await compare(model.connect(), real.connect(), operations)
        finally:
            if real:
                await real.aclose()

    asyncio.run(run())


async def compare(model, real, operations) -> None:
    held = []
    for name, *arguments in operations:
        if name == "publish":
            uid, priority = arguments
            message = make_message(f"m{uid}", priority=priority)
            assert await model.publish(message) == await real.publish(message)
        elif name == "receive":
            expected, found = await model.receive(*arguments), await real.receive(*arguments)
            assert [(each.message.id, each.receives) for each in found] == [
                (each.message.id, each.receives) for each in expected
            ]
            held += zip(expected, found, strict=True)
        elif held:
            pair = held[arguments[0] % len(held)]
            reason = ["it cannot be"] if name == "reject" else []
            expected, found = [await getattr(each, name)(*reason) for each in pair]
            assert found == expected
        depths = [await model.depth(), await real.depth()]
        assert (depths[0].waiting, depths[0].in_flight) == (depths[1].waiting, depths[1].in_flight)
    dead = [await queue.dead_letters() for queue in (model, real)]
    assert [(each.body, each.reason, each.receives) for each in dead[0]] == [
        (each.body, each.reason, each.receives) for each in dead[1]
    ]
