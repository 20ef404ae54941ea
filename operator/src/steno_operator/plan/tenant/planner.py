"""The planner of Tenants: who is let in, who waits and why, what was used. Pure.

`status.admitted` is the ledger, and the only authority: nothing of a tenant starts without an entry, and a new ledger
is written over the very one it was made from or not at all. So whoever plans, how often and from however old a view,
the entries never sum up to more than a limit; what is seen to work without an entry is entered first of all.

Pools first, then in order of priority, then age: whoever fits is let in, and whoever does not keeps its share
reserved, so that others may pass only where they take nothing that it waits for. A job without GPUs passes one that
waits for GPUs (while there are job slots for both), a small GPU job never passes a large one, and the large one is not
starved. Whoever cannot be let in today (the day's minutes or pages are used up), or ever (it alone asks for more than a
limit), reserves nothing.

An entry is given up when its resource is over (or may not start anything any more, see `releasing`) and nothing of it
works. What it used is added to the day's usage in the same write, hence exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.tenant import MAX_ADMITTED, AdmittedWork, Tenant, TenantLimits, TenantStatus, TenantUsage
from steno_operator.plan.common.admission import Admission, Bill, Claim, Demand, refused, waiting
from steno_operator.plan.common.clock import earliest, whole
from steno_operator.plan.common.conditions import Fact, Facts, conditions_of
from steno_operator.plan.common.plan import Action, PlanOf, TellQueue

BUSY_RECHECK = timedelta(seconds=0.5)
"""How soon to look again at something that was being worked on when it was to be given up."""

_RESOURCES = ("gpus", "jobs", "streams")
_EXHAUSTED = {
    "gpus": (Reason.GPUS_EXHAUSTED, "GPUs"),
    "jobs": (Reason.JOBS_EXHAUSTED, "jobs at a time"),
    "streams": (Reason.STREAMS_EXHAUSTED, "streams at a time"),
}
_METERS = {
    "audio": (Reason.AUDIO_MINUTES_EXHAUSTED, "minutes of audio"),
    "pages": (Reason.PAGES_EXHAUSTED, "pages"),
}

TenantPlan = PlanOf[TenantStatus]
"""The decision for a Tenant."""


@dataclass(frozen=True)
class ObservedTenant:
    """A Tenant, and everything that asks it."""

    tenant: Tenant
    claims: tuple[Claim, ...] = ()
    """What is not over in the namespaces it has, and whatever stands in its ledger, be it gone by now."""
    taken: Mapping[str, str] = field(default_factory=dict[str, str])
    """Namespaces of its spec that an older Tenant has, and that Tenant's name."""
    served: Literal["all", "some", "none"] = "all"
    """Whether this operator serves its namespaces."""
    told: Mapping[str, Admission] = field(default_factory=dict[str, Admission])
    """What those who wait were told last, by UID."""


def plan_tenant(observed: ObservedTenant, now: datetime) -> TenantPlan:
    """Returns the ledger and the usage to stand, what those who wait are told, and when to look again."""
    now = whole(now)
    tenant = observed.tenant
    if observed.served == "none" or tenant.metadata.deletion_timestamp is not None:  # another operator's, or going
        return PlanOf((), tenant.status)
    if observed.served == "some":
        return PlanOf((), _with_conditions(observed, tenant.status, now))
    claims = {claim.uid: claim for claim in observed.claims}
    kept, released, again = _settle(tenant.status.admitted, claims)
    kept += _adopted(claims.values(), kept, now)
    day = max(tenant.status.day or "", f"{now.astimezone(UTC):%Y-%m-%d}")
    usage = _charged(tenant.status.usage if tenant.status.day == day else None, released)
    entered = {entry.uid for entry in kept}
    line = sorted(
        (claim for claim in claims.values() if claim.wants and not claim.over and claim.uid not in entered),
        key=lambda claim: (not claim.claimant.first, -claim.priority, claim.created, claim.uid),
    )
    admitted, told = _Gate(tenant, kept, usage).admit(line, now)
    usage = usage.model_copy(
        update={
            "gpus": sum(entry.gpus for entry in admitted),
            "running_jobs": sum(entry.jobs for entry in admitted),
            "streams": sum(entry.streams for entry in admitted),
            "queued_jobs": sum(claim.uid in told for claim in line if claim.demand is not None and claim.demand.jobs),
        }
    )
    status = tenant.status.model_copy(update={"day": day, "usage": usage, "admitted": admitted})
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    actions: tuple[Action, ...] = (TellQueue(told),) if told != dict(observed.told) else ()
    return PlanOf(actions, _with_conditions(observed, status, now), earliest(midnight - now, again))


def _settle(
    ledger: Iterable[AdmittedWork], claims: Mapping[str, Claim]
) -> tuple[list[AdmittedWork], list[Bill], timedelta | None]:
    """Returns the entries that stay, the bills of those that do not, and when to look again."""
    kept: list[AdmittedWork] = []
    bills: list[Bill] = []
    again: timedelta | None = None
    for entry in ledger:
        claim = claims[entry.uid]
        if claim.over and not claim.live and not claim.busy:
            bills.append(claim.bill)
            continue
        if claim.over:
            again = BUSY_RECHECK if claim.busy else again
            kept.append(entry)
            continue
        if claim.spoken:  # given up now, what it used would never be added
            kept.append(entry)
            continue
        # What was granted is no longer what is asked for: first nothing may start on it any more, then it goes.
        fits = claim.live or (claim.demand is not None and claim.demand.gpus <= entry.gpus)
        if claim.wants and fits:
            kept.append(entry.model_copy(update={"releasing": None}))
        elif not entry.releasing or claim.live or claim.busy:
            again = BUSY_RECHECK if claim.busy else again
            kept.append(entry.model_copy(update={"releasing": True}))
    return kept, bills, again


def _adopted(claims: Iterable[Claim], kept: Iterable[AdmittedWork], now: datetime) -> list[AdmittedWork]:
    """Returns entries for what works already: it was started before the Tenant was made, or had its namespace."""
    entered = {entry.uid for entry in kept}
    found = [claim for claim in claims if claim.live and not claim.over and claim.uid not in entered]
    return [
        _entry(claim, claim.demand or claim.claimant.demand(0) or Demand(), now)
        for claim in found[: MAX_ADMITTED - len(entered)]
    ]


def _charged(before: TenantUsage | None, bills: Iterable[Bill]) -> TenantUsage:
    usage = before or TenantUsage()
    bills = list(bills)
    seconds = round(usage.audio_seconds_today + math.fsum(bill.audio_seconds for bill in bills), 3)
    return usage.model_copy(
        update={
            "audio_seconds_today": seconds,
            "audio_minutes_today": round(seconds / 60, 3),
            "pages_today": usage.pages_today + sum(bill.pages for bill in bills),
        }
    )


class _Gate:
    """Lets in whom the limits leave room for."""

    def __init__(self, tenant: Tenant, ledger: list[AdmittedWork], usage: TenantUsage) -> None:
        self._name = tenant.metadata.name
        self._ledger = list(ledger)
        self._limits = _limits(tenant.spec.limits)
        self._free = {
            name: limit - sum(getattr(entry, name) for entry in ledger) for name, limit in self._limits.items()
        }
        """What the ledger leaves."""
        self._unreserved = dict(self._free)
        """What those who wait ahead leave of that; may be less than nothing."""
        daily = tenant.spec.limits
        self._used_up = {
            "audio": _reached(usage.audio_seconds_today / 60, daily.audio_minutes_per_day),
            "pages": _reached(usage.pages_today, daily.pages_per_day),
        }

    def admit(self, line: Iterable[Claim], now: datetime) -> tuple[list[AdmittedWork], dict[str, Admission]]:
        """Returns the new ledger, and what those of the line are told who are not in it."""
        told: dict[str, Admission] = {}
        position = 0
        for claim in line:
            if claim.demand is None:
                continue
            answer = self._answer(claim, claim.demand)
            if answer is None:
                self._ledger.append(_entry(claim, claim.demand, now))
                self._take(claim.demand, self._free, self._unreserved)
                continue
            if answer.state == "Waiting" and answer.reason != Reason.LIMIT_TOO_SMALL:
                position += 1
                answer = waiting(Reason(answer.reason), answer.message, self._name, position=position)
            told[claim.uid] = answer
        return self._ledger, told

    def _answer(self, claim: Claim, demand: Demand) -> Admission | None:
        """Returns why a claim is not let in; None if it is. Reserves the share of one that waits for others."""
        queues = claim.claimant.queues
        too_big = next((name for name in _RESOURCES if self._limits[name] < getattr(demand, name)), None)
        if queues and too_big is not None:
            return self._too_small(too_big, demand, claim.claimant.smaller)
        meter = claim.claimant.meter
        if meter is not None and self._used_up[meter]:
            reason, what = _METERS[meter]
            message = f'Tenant "{self._name}" has used up its {what} of today; the day ends at 00:00 UTC.'
            return waiting(reason, message, self._name) if queues else refused(reason, message, self._name)
        lacking = self._lacking(demand, self._unreserved)
        full = len(self._ledger) >= MAX_ADMITTED
        if lacking is None and not full:
            return None
        if not queues:
            return refused(*self._exhausted(lacking or "streams"), self._name)
        own = self._lacking(demand, self._free)
        if own is None and not full:
            answer = waiting(
                Reason.WAITING_FOR_ADMISSION,
                f'Others of tenant "{self._name}" are ahead: pools, and what is older or has a higher priority.',
                self._name,
            )
        else:
            answer = waiting(*self._exhausted(own or "jobs"), self._name)
        self._take(demand, self._unreserved)
        return answer

    def _exhausted(self, name: str) -> tuple[Reason, str]:
        reason, what = _EXHAUSTED[name]
        limit = min(self._limits[name], MAX_ADMITTED) if name == "jobs" else self._limits[name]
        return reason, f'Tenant "{self._name}" may use {limit:.0f} {what}, and they are in use.'

    def _too_small(self, name: str, demand: Demand, remedy: str) -> Admission:
        _, what = _EXHAUSTED[name]
        message = (
            f'This alone asks for {getattr(demand, name)} {what}; the limit of tenant "{self._name}" is'
            f" {self._limits[name]:.0f}: raise it, or {remedy}."
        )
        return waiting(Reason.LIMIT_TOO_SMALL, message, self._name)

    @staticmethod
    def _lacking(demand: Demand, room: Mapping[str, float]) -> str | None:
        return next((name for name in _RESOURCES if 0 < getattr(demand, name) > room[name]), None)

    @staticmethod
    def _take(demand: Demand, *rooms: dict[str, float]) -> None:
        for room in rooms:
            for name in _RESOURCES:
                room[name] -= getattr(demand, name)


def _limits(limits: TenantLimits) -> dict[str, float]:
    given = {"gpus": limits.gpus, "jobs": limits.concurrent_jobs, "streams": limits.streams}
    return {name: math.inf if limit is None else limit for name, limit in given.items()}


def _reached(used: float, limit: int | None) -> bool:
    return limit is not None and used >= limit


def _entry(claim: Claim, demand: Demand, now: datetime) -> AdmittedWork:
    return AdmittedWork(
        uid=claim.uid,
        kind=claim.kind,
        namespace=claim.namespace,
        name=claim.name,
        gpus=demand.gpus,
        jobs=demand.jobs,
        streams=demand.streams,
        since=now,
    )


def _with_conditions(observed: ObservedTenant, status: TenantStatus, now: datetime) -> TenantStatus:
    tenant = observed.tenant
    facts = _facts(observed)
    conditions: list[Condition] = conditions_of(
        facts, tenant.status.conditions, generation=tenant.metadata.generation, now=now
    )
    return status.model_copy(
        update={
            "observed_generation": tenant.metadata.generation,
            "conditions": conditions,
            "phase": "Ready" if facts[ConditionType.READY].holds else "Stalled",
        }
    )


def _facts(observed: ObservedTenant) -> Facts:
    stalled: Fact | None = None
    if observed.served == "some":
        message = (
            "No operator serves all of spec.namespaces: nothing is admitted. Make a Tenant for each operator's part."
        )
        stalled = Fact(True, Reason.NAMESPACE_NOT_SERVED, message)
    elif observed.taken:
        others = ", ".join(f'"{name}" (Tenant "{owner}")' for name, owner in sorted(observed.taken.items()))
        message = (
            f"An older Tenant has {others}: take them out of spec.namespaces here or there. The others are served."
        )
        stalled = Fact(True, Reason.NAMESPACE_TAKEN, message)
    if stalled is not None:
        return {
            ConditionType.READY: Fact(False, stalled.reason, stalled.message),
            ConditionType.RECONCILING: Fact(False, stalled.reason),
            ConditionType.STALLED: stalled,
        }
    return {
        ConditionType.READY: Fact(True, Reason.IN_FORCE, "The limits are in force."),
        ConditionType.RECONCILING: Fact(False, Reason.IN_FORCE),
        ConditionType.STALLED: Fact(False, Reason.IN_FORCE),
    }
