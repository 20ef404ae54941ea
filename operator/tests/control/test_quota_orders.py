"""Single orders of events from the histories of Tenants that must come out in one way."""

from __future__ import annotations

import asyncio

import pytest

from steno_kube.keys import Key

from .test_quota_histories import WATCHED, SimulatedCluster, reservations


@pytest.mark.parametrize("act", ["suspend", "delete"])
def test_a_reservation_is_kept_while_a_start_that_was_decided_before_is_under_way(act):
    async def run() -> None:
        cluster = SimulatedCluster()
        tenant = Key("Tenant", "", "beta")
        first = cluster.add("beta-1", gpus=2)

        async def work(key: Key, *, starts: bool = False) -> None:
            """Works on a resource to the end or, unless `starts`, to the moment when a child is to be created."""
            for plural in WATCHED:
                cluster.operator.deliver(plural, 100)
            cluster.operator.reconcile(key)
            await cluster.operator.settle()
            kinds = ("GET", "PATCH", "DELETE", *(("POST",) if starts else ()))
            while key in cluster.operator.running and any(cluster.server.serve(what=kind) for kind in kinds):
                await cluster.operator.settle()
                cluster.check()

        await work(tenant, starts=True)  # makes its quota
        await work(tenant)
        await work(first)
        assert cluster.live() == []
        raw = cluster.server.objects["transcriptionjobs", "beta-1", first.name]
        if act == "suspend":
            cluster.server.put("transcriptionjobs", {**raw, "spec": {**raw["spec"], "suspend": True}})
        else:
            cluster.server.drop("transcriptionjobs", "beta-1", first.name)
        second = cluster.add("beta-1", gpus=2)
        for _ in range(3):
            await work(tenant)
            await work(second)
        [entry] = reservations(cluster.server.objects["tenantquotas", "", "beta"])
        assert entry["name"] == first.name
        await work(first, starts=True)  # the start arrives at last
        assert len(cluster.live()) == 1
        await work(tenant)
        await work(second)
        assert len(cluster.live()) == 1
        await cluster.to_the_end()
        await cluster.operator.crash()

    asyncio.run(run())


def test_a_running_job_that_is_suspended_ends_once_it_is_resumed():
    async def run() -> None:
        cluster = SimulatedCluster()
        job = cluster.add("beta-1", gpus=2)
        for _ in range(4):
            await cluster.settle_all(0)
        assert len(cluster.pods()) == 1
        cluster.suspend(0)
        for _ in range(3):
            await cluster.settle_all(0)
            cluster.reap(0)
        assert cluster.pods() == []
        await cluster.to_the_end()  # which resumes it
        assert cluster.server.objects["transcriptionjobs", "beta-1", job.name]["status"]["phase"] == "Succeeded"
        await cluster.operator.crash()

    asyncio.run(run())


@pytest.mark.parametrize("restart", [False, True])
def test_a_worker_whose_job_and_child_are_gone_is_charged_for_what_it_published(restart):
    async def run() -> None:
        cluster = SimulatedCluster()
        job = cluster.add("beta-1", gpus=2)
        for _ in range(4):
            await cluster.settle_all(0)
        cluster.server.drop("transcriptionjobs", "beta-1", job.name)
        if restart:
            await cluster.crash()  # the new one never sees the job
        await cluster.settle_all(0)  # the garbage collector deletes the child; its pod has time to end
        assert cluster.live() == []
        cluster.finish(1)
        for _ in range(3):
            await cluster.settle_all(0)
        [quota] = [raw for raw in cluster.server.all("tenantquotas") if raw["metadata"]["name"] == "beta"]
        assert reservations(quota) == []
        assert quota["status"]["audioMillis"] == cluster.expected_usage("beta", "audioMillis", least=True) > 0
        await cluster.operator.crash()

    asyncio.run(run())


def test_the_simulation_admits_runs_and_ends_jobs():
    """A calm history of the model above does admit, run and end jobs."""

    async def run() -> SimulatedCluster:
        cluster = SimulatedCluster()
        for number in range(12):
            cluster.create(number)
        await cluster.to_the_end()
        await cluster.operator.crash()
        return cluster

    cluster = asyncio.run(run())
    assert {field for _, _, field, _ in cluster.done.values()} == {"audioMillis", "pages"}
    assert Key("Tenant", "", "acme") in [entry.value.key for entry in cluster.operator.state.resources]
