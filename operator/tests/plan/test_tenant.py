"""Tenants: what is admitted, what waits and why; no history exceeds a limit or counts a minute twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steno_operator.plan.common.admission import ADMISSION_POLICIES, AdmissionRequest, Demand
from steno_operator.plan.tenant.quota import RECONCILING_RECHECK

from .builders import after
from .tenant_harness import TenantHarness, make_ended_pod, make_request, tenant


def test_jobs_are_admitted_by_priority_then_age_then_uid():
    harness = TenantHarness(concurrentJobs=3)
    same = after(0)
    harness.reconcile(
        make_request("d"),
        make_request("c", created=same),
        make_request("b", created=same),
        make_request("a", priority=-1),
        make_request("z", priority=5),
    )
    assert harness.reserved == "bcz"
    assert harness.reason("d") == ("ConcurrentJobsExhausted", 1)
    assert harness.reason("a") == ("ConcurrentJobsExhausted", 2)
    assert "3 jobs at a time" in harness.pending["d"].message
    assert harness.tenant.status.usage is not None
    assert (harness.tenant.status.usage.running_jobs, harness.tenant.status.usage.queued_jobs) == (3, 2)


def test_the_same_requests_again_change_nothing():
    harness = TenantHarness(gpus=2)
    seen = [make_request(uid) for uid in "abcd"]
    harness.reconcile(*seen)
    before = harness.tenant, harness.quota, harness.pending
    assert harness.reconcile(*seen).actions == ()
    assert (harness.tenant, harness.quota, harness.pending) == before


def test_a_small_gpu_job_does_not_pass_a_large_one_but_one_without_gpus_does():
    harness = TenantHarness(gpus=4, concurrentJobs=10)
    running = [make_request(uid, running=True) for uid in "ab"]
    harness.reconcile(*running, make_request("c", gpus=4), make_request("d"), make_request("e", gpus=0))
    assert harness.reserved == "abe"
    assert harness.reason("c") == ("GPUsExhausted", 1)
    assert harness.reason("d") == ("WaitingForAdmission", 2)
    harness.reconcile(
        make_ended_pod(running[0]),
        make_ended_pod(running[1]),
        make_request("c", gpus=4),
        make_request("d"),
        make_request("e", gpus=0),
    )
    assert harness.reserved == "ce"


def test_job_slots_stay_reserved_for_a_job_that_waits_for_gpus():
    harness = TenantHarness(gpus=2, concurrentJobs=3)
    harness.reconcile(
        make_request("a", gpus=2, running=True),
        make_request("b", gpus=2),
        make_request("c", gpus=0),
        make_request("d", gpus=0),
    )
    assert harness.reserved == "ac"  # the third slot is b's
    assert harness.reason("d") == ("WaitingForAdmission", 2)


def test_a_job_that_exceeds_the_limit_alone_blocks_no_other():
    harness = TenantHarness(gpus=2, concurrentJobs=0 + 9)
    harness.reconcile(make_request("a", gpus=4), make_request("b"))
    assert harness.reserved == "b"
    assert harness.reason("a") == ("TenantLimitTooSmall", None)
    assert "raise it" in harness.pending["a"].message
    paused = TenantHarness(concurrentJobs=0)
    paused.reconcile(make_request("a"))
    assert paused.reason("a") == ("TenantLimitTooSmall", None)


def test_a_job_without_its_profile_is_neither_admitted_nor_pending():
    harness = TenantHarness()
    harness.reconcile(make_request("a", demand=None))
    assert (harness.reserved, harness.pending) == ("", {})


def test_a_reservation_stays_until_nothing_works_and_its_usage_is_added_when_it_is_released():
    harness = TenantHarness(concurrentJobs=1)
    job, other = make_request("a"), make_request("b")
    harness.reconcile(job, other)
    harness.reconcile(replace(job, running=True), other)
    harness.reconcile(
        replace(make_ended_pod(job, audio_seconds=90.5), running=True), other
    )  # published, and its Job is not done
    assert harness.reserved == "a"
    assert harness.tenant.status.usage.audio_millis_today == 0
    harness.reconcile(make_ended_pod(job, audio_seconds=90.5), other)
    assert harness.reserved == "b"
    assert harness.tenant.status.usage.audio_millis_today == 90_500
    assert harness.tenant.status.usage.audio_minutes_today == 1
    harness.reconcile(make_ended_pod(job, audio_seconds=90.5), other)  # an old view of it counts no more
    assert harness.tenant.status.usage.audio_millis_today == 90_500


def test_a_job_between_two_attempts_keeps_its_reservation():
    harness = TenantHarness(concurrentJobs=1)
    harness.reconcile(make_request("b", running=True))
    harness.reconcile(make_request("b"), make_request("a"))
    assert harness.reserved == "b"


def test_a_suspended_jobs_reservation_is_released_in_two_steps():
    """First nothing may start on it, then it goes: a start that was decided on before is seen in between."""
    harness = TenantHarness(concurrentJobs=1)
    job = make_request("a")
    harness.reconcile(job)
    held = replace(job, active=False)
    harness.reconcile(held, make_request("b"))
    assert harness.reserved == "a"
    assert harness.quota.status.reservations[0].releasing
    assert harness.reconcile(replace(held, reconciling=True), make_request("b")).requeue_after == RECONCILING_RECHECK
    assert harness.reserved == "a"
    harness.reconcile(replace(held, running=True), make_request("b"))
    assert harness.reserved == "a"
    harness.reconcile(held, make_request("b"))
    assert harness.reserved == "b"


def test_a_job_that_is_resumed_in_time_keeps_its_reservation():
    harness = TenantHarness(concurrentJobs=1)
    harness.reconcile(make_request("a"))
    harness.reconcile(make_request("a", active=False))
    harness.reconcile(make_request("a"))
    assert not harness.quota.status.reservations[0].releasing


def test_a_job_deleted_while_it_is_being_started_keeps_its_reservation_until_that_is_over():
    harness = TenantHarness(concurrentJobs=1)
    harness.reconcile(make_request("a"))
    assert (
        harness.reconcile(replace(make_ended_pod(make_request("a")), reconciling=True), make_request("b")).requeue_after
        == RECONCILING_RECHECK
    )
    assert harness.reserved == "a"
    harness.reconcile(make_ended_pod(make_request("a")), make_request("b"))
    assert harness.reserved == "b"


def test_a_job_whose_profile_grew_between_two_attempts_requests_a_new_reservation():
    harness = TenantHarness(gpus=2)
    harness.reconcile(make_request("a"), make_request("b"))
    harness.reconcile(make_request("a", gpus=2, running=True), make_request("b", running=True))
    assert harness.reserved == "ab"  # what works, works
    harness.reconcile(make_request("a", gpus=2), make_request("b", running=True))
    harness.reconcile(make_request("a", gpus=2), make_request("b", running=True))
    assert harness.reserved == "b"
    assert harness.reason("a") == ("GPUsExhausted", 1)


def test_running_work_is_adopted_even_beyond_a_limit():
    harness = TenantHarness(gpus=1)
    harness.reconcile(make_request("a", running=True), make_request("b", running=True), make_request("0"))
    assert harness.reserved == "ab"
    assert harness.reason("0") == ("GPUsExhausted", 1)


def test_the_days_minutes_hold_back_audio_until_midnight_and_pages_go_on():
    harness = TenantHarness(audioMinutesPerDay=2)
    evening = datetime(2026, 11, 21, 23, 59, 50, tzinfo=UTC)
    harness.reconcile(make_request("a", running=True), make_request("b", running=True), at=evening)
    harness.reconcile(make_ended_pod(make_request("a"), audio_seconds=120), make_request("b", running=True), at=evening)
    plan = harness.reconcile(
        make_request("b", running=True), make_request("c"), make_request("d", kind="OCRJob"), at=evening
    )
    assert harness.reserved == "bd"  # b ends, however long
    assert harness.reason("c") == ("AudioMinutesExhausted", 1)
    assert plan.requeue_after == timedelta(seconds=10)
    harness.reconcile(
        make_request("b", running=True),
        make_request("c"),
        make_request("d", kind="OCRJob"),
        at=evening + plan.requeue_after,
    )
    assert harness.reserved == "bcd"
    assert (harness.tenant.status.day, harness.tenant.status.usage.audio_millis_today) == ("2026-11-22", 0)
    harness.reconcile(
        make_request("b", running=True), make_request("c"), make_request("d", kind="OCRJob"), at=evening
    )  # a clock that is behind
    assert harness.tenant.status.day == "2026-11-22"


def test_the_days_pages_hold_back_ocr():
    harness = TenantHarness(pagesPerDay=3)
    harness.reconcile(make_request("a", kind="OCRJob", running=True))
    harness.reconcile(
        make_ended_pod(make_request("a", kind="OCRJob"), pages=3), make_request("b", kind="OCRJob"), make_request("c")
    )
    assert harness.reserved == "c"
    assert harness.reason("b") == ("PagesExhausted", 1)


def test_a_lowered_limit_stops_nothing_and_admits_nothing():
    harness = TenantHarness(gpus=3)
    running = [make_request(uid, running=True) for uid in "abc"]
    harness.reconcile(*running)
    harness.tenant = harness.tenant.model_copy(update={"spec": tenant(gpus=1).spec})
    harness.reconcile(*running, make_request("d"))
    harness.reconcile(make_ended_pod(running[0]), *running[1:], make_request("d"))
    assert harness.reserved == "bc"


def session_request(uid: str) -> AdmissionRequest:
    return make_request(uid, kind="StreamSession", demand=Demand(streams=1))


def pool_request(uid: str, gpus: int, **fields: Any) -> AdmissionRequest:
    return make_request(uid, kind="RuntimePool", demand=Demand(gpus=gpus), **fields)


def test_a_stream_over_the_limit_is_refused_and_takes_no_part_in_the_queue():
    harness = TenantHarness(streams=2, gpus=0, concurrentJobs=1)
    streams = [session_request(uid) for uid in "abc"]
    harness.reconcile(*streams, make_request("d", gpus=0), make_request("e", gpus=0))
    assert harness.reserved == "abd"
    assert (harness.pending["c"].state, *harness.reason("c")) == ("Refused", "StreamsExhausted", None)
    assert "2 streams at a time" in harness.pending["c"].message
    assert harness.reason("e") == ("ConcurrentJobsExhausted", 1)
    usage = harness.tenant.status.usage
    assert (usage.streams, usage.running_jobs, usage.queued_jobs) == (2, 1, 1)
    harness.reconcile(make_ended_pod(streams[0], audio_seconds=60), *streams[1:], make_request("d", gpus=0))
    assert harness.reserved == "bcd"
    assert harness.tenant.status.usage.audio_minutes_today == 1


def test_a_pool_comes_before_jobs_and_keeps_its_gpus_until_its_servers_are_gone():
    harness = TenantHarness(gpus=2, concurrentJobs=9, audioMinutesPerDay=0)
    harness.reconcile(
        make_request("a", gpus=1, priority=9, kind="OCRJob"), make_request("b", kind="OCRJob"), pool_request("p", 2)
    )
    assert harness.reserved == "p"
    assert harness.reason("a") == ("GPUsExhausted", 1)
    usage = harness.tenant.status.usage
    assert (usage.gpus, usage.running_jobs, usage.queued_jobs) == (2, 0, 2)
    idle = pool_request("p", 2, active=False, running=True)
    harness.reconcile(idle, make_request("a", kind="OCRJob"))
    assert harness.reserved == "p", "a server still runs"
    harness.reconcile(replace(idle, running=False), make_request("a", kind="OCRJob"))
    harness.reconcile(replace(idle, running=False), make_request("a", kind="OCRJob"))
    assert harness.reserved == "a"
    harness.reconcile(make_request("a", kind="OCRJob", running=True), pool_request("p", 2))
    assert harness.reason("p") == ("GPUsExhausted", 1)
    assert harness.tenant.status.usage.queued_jobs == 0, "a pool is no job"


def test_a_pool_for_more_servers_than_the_tenant_may_have_says_so():
    harness = TenantHarness(gpus=2)
    harness.reconcile(pool_request("p", 4))
    assert harness.reason("p") == ("TenantLimitTooSmall", None)
    assert "lower the pool's maxReplicas" in harness.pending["p"].message


def test_m10_servers_without_accelerators_have_a_limit_too():
    harness = TenantHarness(servers=3)
    pools = [make_request(uid, kind="RuntimePool", demand=Demand(servers=2)) for uid in "pq"]
    harness.reconcile(*pools, make_request("r", kind="RuntimePool", demand=Demand(servers=1000)))
    assert harness.reserved == "p"
    assert harness.reason("q")[0] == "ServersExhausted"
    assert "3 servers at a time" in harness.pending["q"].message
    assert harness.reason("r") == ("TenantLimitTooSmall", None)
    assert harness.tenant.status.usage.servers == 2
    harness.reconcile(make_request("p", kind="RuntimePool", demand=Demand(servers=3)))
    harness.reconcile(make_request("p", kind="RuntimePool", demand=Demand(servers=3)))
    assert [entry.servers for entry in harness.quota.status.reservations] == [3], "its raised maxReplicas counts"


def test_running_servers_are_adopted_before_anything_is_admitted():
    harness = TenantHarness(gpus=2)
    harness.reconcile(make_request("a"), pool_request("p", 2, running=True))
    assert harness.reserved == "p"
    gone = TenantHarness(gpus=2)  # its profile is
    gone.reconcile(replace(pool_request("p", 2, running=True), demand=None))
    assert [(entry.gpus, entry.jobs, entry.streams) for entry in gone.quota.status.reservations] == [(0, 0, 0)]


@pytest.mark.parametrize(
    ("spec", "status", "active", "pods"),
    [
        ({"minReplicas": 0, "maxReplicas": 3}, {}, False, 3),
        ({"minReplicas": 0, "maxReplicas": 3}, {"sessions": 1}, True, 3),
        ({"minReplicas": 1, "maxReplicas": 3}, {}, True, 3),
        ({"replicas": 0, "minReplicas": 1, "maxReplicas": 3}, {"sessions": 2}, False, 0),
        ({"replicas": 2, "maxReplicas": 3}, {}, True, 2),
    ],
)
def test_when_a_pool_is_active_and_for_how_many_servers(spec, status, active, pods):
    policy = ADMISSION_POLICIES["RuntimePool"]
    assert (policy.is_active(spec, status), policy.max_pods(spec, status)) == (active, pods)


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        ({"taken": {"team-b": "elder"}}, "NamespaceTaken", '"team-b" (Tenant "elder")'),
        ({"served": "some"}, "NamespaceNotServed", "nothing is admitted"),
    ],
)
def test_a_tenant_that_cannot_be_in_force_says_why(seen, reason, words):
    harness = TenantHarness(gpus=2)
    harness.reconcile(make_request("a"), **seen)
    ready, reconciling, stalled = harness.tenant.status.conditions
    assert (ready.type, ready.status, ready.reason) == ("Ready", "False", reason)
    assert (reconciling.type, reconciling.status) == ("Reconciling", "False")
    assert (stalled.type, stalled.status) == ("Stalled", "True")
    assert words in stalled.message
    assert harness.tenant.status.phase == "Stalled"
    assert harness.reserved == ("a" if "taken" in seen else "")
    harness.reconcile(make_request("a"))
    assert harness.tenant.status.phase == "Ready"


def test_another_operators_tenant_is_left_alone():
    harness = TenantHarness()
    before = harness.tenant
    assert harness.reconcile(served="none").requeue_after is None
    assert harness.tenant == before
