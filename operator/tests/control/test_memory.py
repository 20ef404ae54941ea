"""What others may make large costs the operator little: lists, events and what is kept of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import tracemalloc

import aiohttp
import pytest

from steno_kube.decoding import PageSize, decode
from steno_kube.object_cache import ObjectCache
from steno_kube.reflector import Reflector, Target
from steno_operator.control.cache.job_records import read_job, read_warning, read_worker
from steno_operator.control.cache.pool_records import read_deployment, read_server, read_service
from steno_operator.control.cache.resource_records import BY_KIND, read_resource
from steno_operator.control.watch.kopf_source import _Response

from .list_server import ListServer, fat
from .objects import event, job, pod, resource

MIB = 2**20
PATH = "/apis/steno.dev/v1alpha1/transcriptionjobs"


def a_job(number: int, *, size: int = MIB) -> bytes:
    raw = resource(f"talk-{number}", f"u{number}", number + 1)
    return json.dumps(fat(raw, size) if size else raw).encode()


@contextlib.asynccontextmanager
async def reflected(server: ListServer):
    """The cache of a reflector at that server, from its first list on."""
    cache = ObjectCache(read_resource, BY_KIND)
    async with server.run() as cluster:
        task = asyncio.create_task(Reflector(cluster, Target("jobs", PATH), cache).run())
        reflector = task
        try:
            while not cache or len(cache) < len(server.objects):
                await asyncio.sleep(0.01)
                assert not reflector.done()
            yield cache
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.timeout(300)
async def test_h2_a_hundred_objects_of_a_mebibyte_leave_little():
    objects = [a_job(number) for number in range(100)]
    assert all(len(each) > 0.9 * MIB for each in objects)
    server = ListServer(objects)
    tracemalloc.start()
    try:
        async with reflected(server) as cache:
            kept, peak = tracemalloc.get_traced_memory()
            assert len(cache) == len(objects)
    finally:
        tracemalloc.stop()
    assert kept < 4 * MIB
    assert peak < 48 * MIB, "a page, its text and one object at a time, on both ends of the connection"


async def test_h2_pages_shrink_to_the_bytes_of_their_objects_and_nothing_is_left_out():
    objects = [a_job(number, size=MIB if 50 <= number < 80 else 0) for number in range(100)]
    server = ListServer(objects)
    async with reflected(server) as cache:
        assert {each.uid for each in cache} == {f"u{number}" for number in range(100)}
    limits = dict(server.asked)  # the last try of each page
    assert max(limits.values()) <= 50
    assert max(limit for first, limit in limits.items() if 50 <= first < 75) <= 8
    assert server.relisted == 1


def test_pages_of_small_objects_grow_and_one_large_object_is_always_read():
    size = PageSize(500)
    seen = []
    while size.count < 500:
        seen.append(size.count)
        size.adapt(size.count, 1000 * size.count)
    assert len(seen) <= 6
    while size.count > 1:
        assert size.max_bytes is not None
        size.shrink()
    assert size.max_bytes is None
    size.adapt(0, 100)
    assert size.count == 1


async def test_h2_an_event_larger_than_any_buffer_breaks_no_watch():
    server = ListServer([a_job(0, size=0)])
    async with reflected(server) as cache:
        huge = resource("huge", "u1", 2)
        huge["metadata"]["annotations"] = {"note": "\\<" * 3 * MIB}
        await server.events.put(json.dumps(huge).encode())
        await server.events.put(a_job(2, size=0))
        async with asyncio.timeout(60):
            while len(cache) < 3:  # noqa: ASYNC110 - the reflector's own task is being waited for
                await asyncio.sleep(0.01)
    assert server.relisted == 1


async def test_h2_kopfs_lists_are_parsed_without_what_is_never_read():
    server = ListServer([a_job(number) for number in range(3)])
    async with server.run(), aiohttp.ClientSession(response_class=_Response) as session:
        response = await session.get(f"{server.url}{PATH}", params={"limit": "3"})
        page = await response.json()
    assert [each["metadata"]["name"] for each in page["items"]] == ["talk-0", "talk-1", "talk-2"]
    assert len(json.dumps(page)) < 3000


def test_what_the_records_need_is_not_stripped():
    for raw in (fat(job()), fat(pod()), fat(resource())):
        stripped = decode(json.dumps(raw).encode())
        metadata = stripped["metadata"]
        assert {key for key in metadata["labels"] if not key.startswith("steno.dev/")} == set()
        assert set(metadata) <= {*raw["metadata"]} - {"managedFields", "finalizers"}
    raw = job()
    assert read_job(decode(json.dumps(fat(raw)).encode())) == read_job(raw)
    raw = pod()
    assert read_worker(decode(json.dumps(fat(raw)).encode())) == read_worker(raw)


def test_labels_that_look_like_metadata_break_nothing():
    """Anyone may write them, and one object that cannot be parsed would end the list for all."""
    names = ("uid", "resourceVersion", "creationTimestamp", "labels", "annotations", "ownerReferences", "name")
    raw = resource()
    raw["metadata"]["labels"] = dict.fromkeys(names, "x")
    assert decode(json.dumps(raw).encode())["metadata"]["name"] == "talk"


LONG = "w" * MIB
STATE = {"reason": LONG, "message": LONG}
CONDITIONS = [
    {"type": kind, "status": status, "reason": LONG, "message": LONG}
    for kind, status in (
        *((kind, "True") for kind in ("Failed", "DisruptionTarget", "ReplicaFailure")),
        ("PodScheduled", "False"),
    )
]
STATUS = {
    "reason": LONG,
    "message": LONG,
    "phase": LONG,
    "conditions": CONDITIONS,
    "containerStatuses": [
        {"name": name, "state": {"terminated": {**STATE, "exitCode": 1}}} for name in ("worker", "server")
    ],
    "initContainerStatuses": [{"name": "init", "state": {"terminated": {**STATE, "exitCode": 1}}}],
}


def owned_by(name: str):
    return [{"kind": "Job", "name": name, "uid": LONG, "controller": True}]


@pytest.mark.parametrize("read", [read_job, read_worker, read_deployment, read_service, read_server])
def test_h2_what_is_kept_of_a_child_that_others_made_is_bounded(read):
    raw = fat(job(status=STATUS))
    raw["metadata"]["annotations"]["steno.dev/digest"] = LONG
    for owners in (raw["metadata"]["ownerReferences"], owned_by("talk"), owned_by(LONG)):
        raw["metadata"]["ownerReferences"] = owners
        assert len(pickle.dumps(read(raw))) < 64 * 1024


def test_h2_what_is_kept_of_an_event_that_others_made_is_bounded():
    raw = {**event(LONG, LONG), "reason": LONG}
    assert len(pickle.dumps(read_warning(raw))) < 16 * 1024


def test_h2_what_is_kept_of_a_resource_is_bounded_by_its_definition():
    raw = {**fat(resource()), "unknown": LONG}
    assert len(pickle.dumps(read_resource(raw))) < 4 * 1024
