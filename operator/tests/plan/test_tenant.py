"""Tenants: who is let in, who waits and why; no history lets a limit be passed or a minute be counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steno_api.v1alpha1.tenant import Tenant
from steno_operator.plan.common.admission import CLAIMANTS, Admission, Bill, Claim, Demand
from steno_operator.plan.common.plan import TellQueue
from steno_operator.plan.tenant.planner import BUSY_RECHECK, ObservedTenant, TenantPlan, plan_tenant

from .scene import T0, after


def tenant(**limits: int) -> Tenant:
    return Tenant.from_wire(
        {
            "metadata": {"name": "acme", "uid": "tenant-1", "generation": 3},
            "spec": {"namespaces": ["team-a", "team-b"], "limits": limits},
        }
    )


def claim(uid: str, *, gpus: int = 1, kind: str = "TranscriptionJob", **fields: Any) -> Claim:
    """A claim; the later in the alphabet, the younger."""
    return Claim(
        **{
            "uid": uid,
            "kind": kind,
            "namespace": "team-a",
            "name": f"job-{uid}",
            "created": after(ord(uid[0])),
            "claimant": CLAIMANTS[kind],
            "demand": Demand(gpus=gpus, jobs=1),
            **fields,
        }
    )


def over(of: Claim, **bill: Any) -> Claim:
    return replace(of, over=True, wants=False, live=False, bill=Bill(**bill))


class Office:
    """A Tenant that is looked at again and again."""

    def __init__(self, **limits: int) -> None:
        self.tenant = tenant(**limits)
        self.told: dict[str, Admission] = {}

    def see(self, *claims: Claim, at: datetime = T0, **seen: Any) -> TenantPlan:
        plan = plan_tenant(ObservedTenant(self.tenant, claims, told=self.told, **seen), at)
        for action in plan.actions:
            assert isinstance(action, TellQueue)
            self.told = dict(action.waiting)
        status = type(plan.status).model_validate_json(plan.status.to_json())
        assert status == plan.status, "the status must survive JSON"
        self.tenant = self.tenant.model_copy(update={"status": status})
        return plan

    @property
    def inside(self) -> str:
        return "".join(sorted(entry.uid for entry in self.tenant.status.admitted))

    def answer(self, uid: str) -> tuple[str, int | None]:
        return self.told[uid].reason, self.told[uid].position


def test_by_priority_then_age_then_uid():
    office = Office(concurrentJobs=3)
    same = after(0)
    office.see(
        claim("d"), claim("c", created=same), claim("b", created=same), claim("a", priority=-1), claim("z", priority=5)
    )
    assert office.inside == "bcz"
    assert office.answer("d") == ("ConcurrentJobsExhausted", 1)
    assert office.answer("a") == ("ConcurrentJobsExhausted", 2)
    assert "3 jobs at a time" in office.told["d"].message
    assert office.tenant.status.usage is not None
    assert (office.tenant.status.usage.running_jobs, office.tenant.status.usage.queued_jobs) == (3, 2)


def test_the_same_view_again_changes_nothing():
    office = Office(gpus=2)
    seen = [claim(uid) for uid in "abcd"]
    office.see(*seen)
    before = office.tenant
    assert office.see(*seen).actions == ()
    assert office.tenant == before


def test_a_small_gpu_job_does_not_pass_a_large_one_but_one_without_gpus_does():
    office = Office(gpus=4, concurrentJobs=10)
    running = [claim(uid, live=True) for uid in "ab"]
    office.see(*running, claim("c", gpus=4), claim("d"), claim("e", gpus=0))
    assert office.inside == "abe"
    assert office.answer("c") == ("GPUsExhausted", 1)
    assert office.answer("d") == ("WaitingForAdmission", 2)
    office.see(over(running[0]), over(running[1]), claim("c", gpus=4), claim("d"), claim("e", gpus=0))
    assert office.inside == "ce"


def test_job_slots_stay_reserved_for_who_waits_for_gpus():
    office = Office(gpus=2, concurrentJobs=3)
    office.see(claim("a", gpus=2, live=True), claim("b", gpus=2), claim("c", gpus=0), claim("d", gpus=0))
    assert office.inside == "ac"  # the third slot is b's
    assert office.answer("d") == ("WaitingForAdmission", 2)


def test_one_that_asks_for_more_than_the_limit_holds_up_nobody():
    office = Office(gpus=2, concurrentJobs=0 + 9)
    office.see(claim("a", gpus=4), claim("b"))
    assert office.inside == "b"
    assert office.answer("a") == ("TenantLimitTooSmall", None)
    assert "raise it" in office.told["a"].message
    paused = Office(concurrentJobs=0)
    paused.see(claim("a"))
    assert paused.answer("a") == ("TenantLimitTooSmall", None)


def test_without_its_profile_nobody_is_let_in_or_told():
    office = Office()
    office.see(claim("a", demand=None))
    assert (office.inside, office.told) == ("", {})


def test_an_entry_stays_until_nothing_works_and_the_bill_comes_with_its_end():
    office = Office(concurrentJobs=1)
    job, other = claim("a"), claim("b")
    office.see(job, other)
    office.see(replace(job, live=True), other)
    office.see(replace(over(job, audio_seconds=90.5), live=True), other)  # published, and its Job is not done
    assert office.inside == "a"
    assert office.tenant.status.usage.audio_seconds_today == 0
    office.see(over(job, audio_seconds=90.5), other)
    assert office.inside == "b"
    assert office.tenant.status.usage.audio_seconds_today == 90.5
    assert office.tenant.status.usage.audio_minutes_today == 1.508
    office.see(over(job, audio_seconds=90.5), other)  # an old view of it counts no more
    assert office.tenant.status.usage.audio_seconds_today == 90.5


def test_a_job_between_two_attempts_keeps_its_entry():
    office = Office(concurrentJobs=1)
    office.see(claim("b", live=True))
    office.see(claim("b"), claim("a"))
    assert office.inside == "b"


def test_one_that_is_suspended_gives_its_entry_back_in_two_steps():
    """First nothing may start on it, then it goes: a start that was decided on before is seen in between."""
    office = Office(concurrentJobs=1)
    job = claim("a")
    office.see(job)
    held = replace(job, wants=False)
    office.see(held, claim("b"))
    assert office.inside == "a"
    assert office.tenant.status.admitted[0].releasing
    assert office.see(replace(held, busy=True), claim("b")).requeue_after == BUSY_RECHECK
    assert office.inside == "a"
    office.see(replace(held, live=True), claim("b"))
    assert office.inside == "a"
    office.see(held, claim("b"))
    assert office.inside == "b"


def test_one_that_is_resumed_in_time_keeps_its_entry():
    office = Office(concurrentJobs=1)
    office.see(claim("a"))
    office.see(claim("a", wants=False))
    office.see(claim("a"))
    assert not office.tenant.status.admitted[0].releasing


def test_one_that_is_deleted_while_it_is_being_started_is_waited_for():
    office = Office(concurrentJobs=1)
    office.see(claim("a"))
    assert office.see(replace(over(claim("a")), busy=True), claim("b")).requeue_after == BUSY_RECHECK
    assert office.inside == "a"
    office.see(over(claim("a")), claim("b"))
    assert office.inside == "b"


def test_a_profile_that_grew_between_two_attempts_asks_anew():
    office = Office(gpus=2)
    office.see(claim("a"), claim("b"))
    office.see(claim("a", gpus=2, live=True), claim("b", live=True))
    assert office.inside == "ab"  # what works, works
    office.see(claim("a", gpus=2), claim("b", live=True))
    office.see(claim("a", gpus=2), claim("b", live=True))
    assert office.inside == "b"
    assert office.answer("a") == ("GPUsExhausted", 1)


def test_what_works_already_is_entered_even_beyond_a_limit():
    office = Office(gpus=1)
    office.see(claim("a", live=True), claim("b", live=True), claim("0"))
    assert office.inside == "ab"
    assert office.answer("0") == ("GPUsExhausted", 1)


def test_the_days_minutes_hold_back_audio_until_midnight_and_pages_go_on():
    office = Office(audioMinutesPerDay=2)
    evening = datetime(2026, 11, 21, 23, 59, 50, tzinfo=UTC)
    office.see(claim("a", live=True), claim("b", live=True), at=evening)
    office.see(over(claim("a"), audio_seconds=120), claim("b", live=True), at=evening)
    plan = office.see(claim("b", live=True), claim("c"), claim("d", kind="OCRJob"), at=evening)
    assert office.inside == "bd"  # b ends, however long
    assert office.answer("c") == ("AudioMinutesExhausted", 1)
    assert plan.requeue_after == timedelta(seconds=10)
    office.see(claim("b", live=True), claim("c"), claim("d", kind="OCRJob"), at=evening + plan.requeue_after)
    assert office.inside == "bcd"
    assert (office.tenant.status.day, office.tenant.status.usage.audio_seconds_today) == ("2026-11-22", 0)
    office.see(claim("b", live=True), claim("c"), claim("d", kind="OCRJob"), at=evening)  # a clock that is behind
    assert office.tenant.status.day == "2026-11-22"


def test_the_days_pages_hold_back_ocr():
    office = Office(pagesPerDay=3)
    office.see(claim("a", kind="OCRJob", live=True))
    office.see(over(claim("a", kind="OCRJob"), pages=3), claim("b", kind="OCRJob"), claim("c"))
    assert office.inside == "c"
    assert office.answer("b") == ("PagesExhausted", 1)


def test_a_lowered_limit_stops_nothing_and_lets_nobody_in():
    office = Office(gpus=3)
    running = [claim(uid, live=True) for uid in "abc"]
    office.see(*running)
    office.tenant = office.tenant.model_copy(update={"spec": tenant(gpus=1).spec})
    office.see(*running, claim("d"))
    office.see(over(running[0]), *running[1:], claim("d"))
    assert office.inside == "bc"


def stream(uid: str) -> Claim:
    return claim(uid, kind="StreamSession", demand=Demand(streams=1))


def serving(uid: str, gpus: int, **fields: Any) -> Claim:
    return claim(uid, kind="RuntimePool", demand=Demand(gpus=gpus), **fields)


def test_a_stream_over_the_limit_is_refused_and_takes_no_part_in_the_queue():
    office = Office(streams=2, gpus=0, concurrentJobs=1)
    streams = [stream(uid) for uid in "abc"]
    office.see(*streams, claim("d", gpus=0), claim("e", gpus=0))
    assert office.inside == "abd"
    assert (office.told["c"].state, *office.answer("c")) == ("Refused", "StreamsExhausted", None)
    assert "2 streams at a time" in office.told["c"].message
    assert office.answer("e") == ("ConcurrentJobsExhausted", 1)
    usage = office.tenant.status.usage
    assert (usage.streams, usage.running_jobs, usage.queued_jobs) == (2, 1, 1)
    office.see(over(streams[0], audio_seconds=60), *streams[1:], claim("d", gpus=0))
    assert office.inside == "bcd"
    assert office.tenant.status.usage.audio_minutes_today == 1


def test_a_pool_comes_before_jobs_and_holds_its_gpus_until_its_servers_are_gone():
    office = Office(gpus=2, concurrentJobs=9, audioMinutesPerDay=0)
    office.see(claim("a", gpus=1, priority=9, kind="OCRJob"), claim("b", kind="OCRJob"), serving("p", 2))
    assert office.inside == "p"
    assert office.answer("a") == ("GPUsExhausted", 1)
    usage = office.tenant.status.usage
    assert (usage.gpus, usage.running_jobs, usage.queued_jobs) == (2, 0, 2)
    idle = serving("p", 2, wants=False, live=True)
    office.see(idle, claim("a", kind="OCRJob"))
    assert office.inside == "p", "a server still runs"
    office.see(replace(idle, live=False), claim("a", kind="OCRJob"))
    office.see(replace(idle, live=False), claim("a", kind="OCRJob"))
    assert office.inside == "a"
    office.see(claim("a", kind="OCRJob", live=True), serving("p", 2))
    assert office.answer("p") == ("GPUsExhausted", 1)
    assert office.tenant.status.usage.queued_jobs == 0, "a pool is no job"


def test_a_pool_for_more_servers_than_the_tenant_may_have_says_so():
    office = Office(gpus=2)
    office.see(serving("p", 4))
    assert office.answer("p") == ("TenantLimitTooSmall", None)
    assert "lower the pool's maxReplicas" in office.told["p"].message


def test_servers_that_run_already_are_entered_first_of_all():
    office = Office(gpus=2)
    office.see(claim("a"), serving("p", 2, live=True))
    assert office.inside == "p"
    gone = Office(gpus=2)  # its profile is
    gone.see(replace(serving("p", 2, live=True), demand=None))
    assert [(entry.gpus, entry.jobs, entry.streams) for entry in gone.tenant.status.admitted] == [(0, 0, 0)]


@pytest.mark.parametrize(
    ("spec", "status", "asks", "pods"),
    [
        ({"minReplicas": 0, "maxReplicas": 3}, {}, False, 3),
        ({"minReplicas": 0, "maxReplicas": 3}, {"sessions": 1}, True, 3),
        ({"minReplicas": 1, "maxReplicas": 3}, {}, True, 3),
        ({"replicas": 0, "minReplicas": 1, "maxReplicas": 3}, {"sessions": 2}, False, 0),
        ({"replicas": 2, "maxReplicas": 3}, {}, True, 2),
    ],
)
def test_when_a_pool_asks_and_for_how_many_servers(spec, status, asks, pods):
    of = CLAIMANTS["RuntimePool"]
    assert (of.asks(spec, status), of.pods(spec)) == (asks, pods)


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        ({"taken": {"team-b": "elder"}}, "NamespaceTaken", '"team-b" (Tenant "elder")'),
        ({"served": "some"}, "NamespaceNotServed", "nothing is admitted"),
    ],
)
def test_a_tenant_that_cannot_be_in_force_says_why(seen, reason, words):
    office = Office(gpus=2)
    office.see(claim("a"), **seen)
    ready, reconciling, stalled = office.tenant.status.conditions
    assert (ready.type, ready.status, ready.reason) == ("Ready", "False", reason)
    assert (reconciling.type, reconciling.status) == ("Reconciling", "False")
    assert (stalled.type, stalled.status) == ("Stalled", "True")
    assert words in stalled.message
    assert office.tenant.status.phase == "Stalled"
    assert office.inside == ("a" if "taken" in seen else "")
    office.see(claim("a"))
    assert office.tenant.status.phase == "Ready"


def test_another_operators_tenant_is_left_alone():
    office = Office()
    before = office.tenant
    assert office.see(served="none").requeue_after is None
    assert office.tenant == before
