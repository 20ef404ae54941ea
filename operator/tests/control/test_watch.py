"""Watches, resync check and lease over a real apiserver and a network that fails in every way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os

import pytest

from steno_kube import client as cluster_module
from steno_kube.backoff import Backoff
from steno_kube.client import ApiError, Cluster, ResourceType, UnreachableError
from steno_kube.leader_election import Leadership, LeaseTimes
from steno_kube.metrics import WATCH_FORBIDDEN
from steno_kube.reflector import Reflector, Target, Timing
from steno_operator.control.watch.kopf_source import _settings
from steno_operator.control.watch.resync import ResyncCheck, WatchedKind

from .proxy import Proxy

pytestmark = pytest.mark.apiserver

CONFIG_MAPS = ResourceType("v1", "configmaps")
OURS = {"labelSelector": "watched=yes"}
QUICK = Timing(server=60, inactivity=1.0, backoff=Backoff(0.05, 0.2))


class Seen:
    """A sink that can be waited for."""

    def __init__(self):
        self.names = {}
        self.changed = asyncio.Event()

    def upsert(self, raw):
        self.names[raw["metadata"]["uid"]] = raw["metadata"]["name"]
        self.changed.set()

    def delete(self, uid):
        self.names.pop(uid, None)
        self.changed.set()

    def replace(self, uids, version, **_):
        assert version
        self.names = {uid: name for uid, name in self.names.items() if uid in uids}
        self.changed.set()

    def forget(self, *_):
        self.names = {}
        self.changed.set()

    async def until(self, *names):
        async with asyncio.timeout(20):
            while set(self.names.values()) != set(names):
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def proxy(apiserver, tmp_path):
    async with Proxy(apiserver, tmp_path).run() as proxy:
        yield proxy


@pytest.fixture
async def cluster(proxy, monkeypatch):
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(proxy.kubeconfig))
    cluster = await Cluster.connect()
    yield cluster
    await cluster.close()


@pytest.fixture
def namespace(apiserver):
    return apiserver.namespace("watch")


@pytest.fixture
async def direct(apiserver, monkeypatch):
    """A connection that the proxy does not spoil."""
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(apiserver.kubeconfig))
    cluster = await Cluster.connect()
    yield cluster
    await cluster.close()


@pytest.fixture
def make(direct, namespace):
    async def make(name, **labels):
        return await direct.create(
            CONFIG_MAPS, namespace, {"metadata": {"name": name, "labels": labels or {"watched": "yes"}}}
        )

    return make


@pytest.fixture
def remove(direct, namespace):
    async def remove(raw):
        await direct.delete(CONFIG_MAPS, namespace, raw["metadata"]["name"], raw["metadata"]["uid"], "Background")

    return remove


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def reflector(cluster, namespace, seen):
    return Reflector(cluster, Target("configmaps", CONFIG_MAPS.path(namespace), OURS), seen, QUICK)


async def test_what_is_there_comes_and_goes(reflector, seen, make, remove):
    first = await make("first")
    await make("foreign", watched="no")
    async with running(reflector.run()):
        await reflector.synced.wait()
        assert set(seen.names.values()) == {"first"}
        await make("second")
        await seen.until("first", "second")
        await remove(first)
        await seen.until("second")


async def test_a_long_list_comes_in_pages(reflector, seen, make, monkeypatch):
    monkeypatch.setattr(cluster_module, "PAGE", 2)
    names = [f"map-{number}" for number in range(5)]
    for name in names:
        await make(name)
    async with running(reflector.run()):
        await reflector.synced.wait()
        assert set(seen.names.values()) == set(names)


async def test_too_old_a_version_lists_again_and_drops_what_vanished(cluster, direct, seen, namespace):
    """The cache of a custom resource does not reach back to the server's first writes."""
    profiles = ResourceType("steno.dev/v1alpha1", "runtimeprofiles")
    selector = {"labelSelector": f"watched={namespace}"}
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "spec": {}}
    await direct.create(profiles, None, {**body, "metadata": {"name": namespace, "labels": {"watched": namespace}}})
    with pytest.raises(ApiError) as gone:
        async for _ in direct.stream(profiles.path(), {**selector, "resourceVersion": "1"}, 5.0):
            pass
    assert gone.value.status == 410
    reflector = Reflector(cluster, Target("profiles", profiles.path(), selector), seen, Timing(backoff=Backoff(60, 60)))
    reflector._version = "1"
    seen.names["ghost-uid"] = "ghost"
    async with running(reflector.run()):
        await seen.until(namespace)


async def test_a_cut_connection_is_resumed_without_a_list(reflector, proxy, seen, make):
    await make("first")
    async with running(reflector.run()):
        await seen.until("first")
        proxy.cut()
        await make("second")
        await seen.until("first", "second")
        seen.names["kept-uid"] = "kept"  # a list would drop it
        proxy.cut()
        await make("third")
        await seen.until("first", "second", "third", "kept")


async def test_a_silent_connection_is_found_out(reflector, proxy, seen, make):
    await make("first")
    async with running(reflector.run()):
        await seen.until("first")
        proxy.freeze(True)
        await make("second")
        opened = proxy.opened
        async with asyncio.timeout(20):
            while proxy.opened == opened:  # noqa: ASYNC110 - the reflector gives the dead connection up
                await asyncio.sleep(0.05)
        proxy.freeze(False)
        await seen.until("first", "second")


async def test_an_unreachable_server_does_not_end_it(reflector, proxy, seen, make):
    proxy.shut = True
    async with running(reflector.run()) as task:
        async with asyncio.timeout(20):
            while proxy.opened < 7:  # noqa: ASYNC110 - more failures than it believes an old version for
                await asyncio.sleep(0.05)
        assert not task.done()
        proxy.shut = False
        await make("first")
        await seen.until("first")


async def test_an_object_that_cannot_be_read_does_not_end_it(reflector, seen, make):
    upsert, broken = seen.upsert, []

    def fail_once(raw):
        if not broken:
            broken.append(raw)
            raise KeyError("spec")
        upsert(raw)

    seen.upsert = fail_once
    await make("first")
    async with running(reflector.run()):
        await seen.until("first")


async def test_errors_have_types(direct, proxy, cluster, namespace):
    with pytest.raises(ApiError) as refused:
        await direct.get(CONFIG_MAPS, namespace, "none")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    proxy.shut = True
    with pytest.raises(UnreachableError):
        await cluster.get(CONFIG_MAPS, namespace, "none")


@pytest.fixture
async def powerless(apiserver, namespace, tmp_path, monkeypatch):
    """A connection without any right, and a function that grants it to read the namespace."""
    config = json.loads(apiserver.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": apiserver.service_account_token(namespace, "nobody")}
    path = tmp_path / "kubeconfig-powerless"
    path.write_text(json.dumps(config))
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(path))
    cluster = await Cluster.connect()
    yield cluster
    await cluster.close()


@pytest.fixture
def grant(apiserver, namespace):
    def grant():
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
        for kind, body in (
            ("roles", {"rules": rules}),
            (
                "rolebindings",
                {
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                    "subjects": [{"kind": "ServiceAccount", "name": "nobody", "namespace": namespace}],
                },
            ),
        ):
            answer = apiserver.request("POST", f"{rbac}/{kind}", {"metadata": {"name": "reader"}, **body})
            assert answer.status == 201, answer.message

    return grant


async def test_k4_a_namespace_without_rights_holds_nothing_up_and_comes_back(powerless, seen, make, namespace, grant):
    await make("first")
    target = Target("configmaps", CONFIG_MAPS.path(namespace), OURS, namespace)
    watch = Reflector(powerless, target, seen, QUICK)
    async with running(watch.run()):
        async with asyncio.timeout(20):
            await watch.synced.wait()
        assert not seen.names
        assert WATCH_FORBIDDEN.labels("configmaps", namespace)._value.get() == 1
        grant()
        await seen.until("first")
        assert WATCH_FORBIDDEN.labels("configmaps", namespace)._value.get() == 0


async def test_k4_a_namespace_that_stays_without_rights_counts_as_empty(powerless, seen, namespace):
    seen.names = {"u1": "left"}
    target = Target("configmaps", CONFIG_MAPS.path(namespace), OURS, namespace)
    timing = Timing(server=60, inactivity=1.0, forbidden=0.0, backoff=QUICK.backoff)
    async with running(Reflector(powerless, target, seen, timing).run()):
        await seen.until()


async def test_k4_the_resync_check_goes_on_past_a_namespace_without_rights(
    powerless, apiserver, namespace, make, grant
):
    other = apiserver.namespace("lost")
    known = Known(left={"metadata": {"uid": "u1", "name": "left", "namespace": other, "resourceVersion": "1"}})
    target = WatchedKind("ConfigMap", CONFIG_MAPS, (other, namespace), known, lambda: list(known.values()))
    check = ResyncCheck(powerless, [target], lambda: None)
    grant()
    await make("first")

    async def looks_until(*names):
        async with asyncio.timeout(20):
            while set(known) != set(names):
                await check.check(target)

    await looks_until("first")
    assert check.stale_watches == []


def test_k4_kopf_does_not_give_up_a_watch_that_is_refused():
    """It would end as a whole, and with it the operator, for all namespaces."""
    waits = list(itertools.islice(_settings(70.0).networking.error_backoffs, 1000))
    assert len(waits) == 1000
    assert max(waits) <= 30.0


class Known(dict):
    """A sink that keeps raw objects by name."""

    def upsert(self, raw):
        self[raw["metadata"]["name"]] = raw

    def delete(self, uid):
        [name] = [name for name, raw in self.items() if raw["metadata"]["uid"] == uid]
        del self[name]

    def forget(self, _, uids):
        for uid in uids:
            self.delete(uid)

    def replace(self, *_, **__):
        raise AssertionError("nothing lists for it")


async def test_the_resync_check_repairs_what_no_watch_brought(direct, namespace, make, remove):
    known = Known()
    target = WatchedKind("ConfigMap", CONFIG_MAPS, (namespace,), known, lambda: list(known.values()))
    check = ResyncCheck(direct, [target], lambda: None)
    first = await make("first")
    await check.check(target)
    assert not known  # the watch may just be late
    await check.check(target)
    assert set(known) == {"first"}
    await check.check(target)
    assert check.stale_watches == []
    await remove(first)
    await check.check(target)
    assert set(known) == {"first"}
    await check.check(target)
    assert not known


async def test_a_watch_that_never_brings_anything_is_called_stale(direct, namespace, make):
    known = Known()
    target = WatchedKind("ConfigMap", CONFIG_MAPS, (namespace,), known, lambda: list(known.values()))
    check = ResyncCheck(direct, [target], lambda: None)
    for number in range(4):
        await make(f"map-{number}")
        await check.check(target)
    assert check.stale_watches == ["ConfigMap"]
    await check.check(target)
    await check.check(target)
    assert check.stale_watches == []


async def test_the_holder_gives_up_when_it_cannot_renew(cluster, proxy, direct, namespace):
    times = LeaseTimes(duration=3, renew=1, retry=0.1)
    first = Leadership(cluster, namespace, "lease", "first", times)
    second = Leadership(direct, namespace, "lease", "second", times)
    await first.acquire()
    async with running(first.hold()) as holding, running(second.acquire()) as waiting:
        proxy.freeze(True)
        await asyncio.wait({holding, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert holding.done()
        assert not waiting.done()  # the holder knows before anyone else may lead
        await asyncio.wait_for(waiting, 20)


async def test_a_released_lease_is_taken_at_once(direct, namespace):
    times = LeaseTimes(duration=600, renew=300, retry=0.1)
    first = Leadership(direct, namespace, "lease", "first", times)
    second = Leadership(direct, namespace, "lease", "second", times)
    await first.acquire()
    async with running(second.acquire()) as waiting:
        await first.release()
        await asyncio.wait_for(waiting, 20)
    await first.release()  # not ours any more: nothing happens
    assert (await direct.get(cluster_module.LEASES, namespace, "lease"))["spec"]["holderIdentity"] == "second"
