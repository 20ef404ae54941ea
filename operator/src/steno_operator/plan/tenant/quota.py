"""Quota: settle reservations, add up usage, and allocate what is free to the queue in order.

A request that does not fit keeps its demand reserved, so that later ones are admitted only where they take nothing
that it waits for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from steno_api.usage import Work
from steno_api.v1alpha1.reasons import Reason
from steno_api.v1alpha1.tenant import MAX_RESERVATIONS, Tenant, TenantLimits
from steno_api.v1alpha1.tenantquota import QuotaReservation, TenantQuotaStatus
from steno_operator.plan.common.admission import Admission, AdmissionRequest, Demand, Meter, Usage, refused, waiting

RECONCILING_RECHECK = timedelta(seconds=0.5)
"""How soon to requeue a Tenant after a resource was being reconciled when its reservation was to be released."""

USAGE_RECHECK = timedelta(seconds=5)
"""How soon to requeue a Tenant whose resource was about to say in its status what it used."""

_RESOURCES = ("gpus", "jobs", "streams", "servers")
_EXHAUSTED = {
    "gpus": (Reason.GPUS_EXHAUSTED, "GPUs"),
    "jobs": (Reason.JOBS_EXHAUSTED, "jobs at a time"),
    "streams": (Reason.STREAMS_EXHAUSTED, "streams at a time"),
    "servers": (Reason.SERVERS_EXHAUSTED, "servers at a time"),
}
_METERS = {
    "audio": (Reason.AUDIO_MINUTES_EXHAUSTED, "minutes of audio"),
    "pages": (Reason.PAGES_EXHAUSTED, "pages"),
}

NOTHING_CHARGED = Usage()
Reservations = list[QuotaReservation]
"""A Tenant's quota reservations, as they are in the status of its TenantQuota."""


def settle_reservations(
    reservations: Iterable[QuotaReservation], requests: Mapping[str, AdmissionRequest]
) -> tuple[Reservations, list[Usage], timedelta | None]:
    """Return the reservations that stay, the usage of those that are released, and when to requeue the Tenant.

    Args:
        reservations: those in the Tenant's quota.
        requests: at least the requests that have a reservation, by UID.
    """
    kept: Reservations = []
    released: list[Usage] = []
    recheck: timedelta | None = None
    for reservation in reservations:
        request = requests[reservation.uid]
        if request.finished and not request.running and not request.reconciling:
            released.append(uncharged(reservation, request.usage))
            continue
        if request.finished:
            recheck = RECONCILING_RECHECK if request.reconciling else recheck
            kept.append(reservation)
            continue
        if request.usage_pending and not request.running:  # what it used is charged once its status can tell so
            recheck = USAGE_RECHECK
            kept.append(reservation)
            continue
        # What was granted is no longer what is requested: first nothing may start on it any more, then it is released.
        fits = request.running or (request.demand is not None and _fits(request.demand, reservation))
        if request.active and fits:
            again = reservation.model_copy(update={"releasing": None}) if reservation.releasing else reservation
            kept.append(again)
        elif not reservation.releasing or request.running or request.reconciling:
            recheck = RECONCILING_RECHECK if request.reconciling else recheck
            kept.append(reservation.model_copy(update={"releasing": True}))
        else:  # it may go on another day, or never
            released.append(uncharged(reservation, request.usage))
    return kept, released, recheck


def _fits(demand: Demand, reservation: QuotaReservation) -> bool:
    counted = reservation.servers is None or demand.servers <= reservation.servers
    return counted and demand.gpus <= reservation.gpus


def uncharged(reservation: QuotaReservation, usage: Usage) -> Usage:
    """Return the part of what a resource has used that it was not charged for under an earlier reservation."""
    charged = reservation.charged
    if charged is None:
        return usage
    return usage.beyond(Usage(charged.audio_millis / 1000, charged.pages))


def total(usages: Iterable[Usage]) -> Usage:
    """Return the sum."""
    each = list(usages)
    return Usage(sum(one.audio_seconds for one in each), sum(one.pages for one in each))


def adopt_running_work(
    requests: Iterable[AdmissionRequest], kept: Sequence[QuotaReservation], now: datetime
) -> Reservations:
    """Return reservations for what runs without one: it started before the Tenant existed or had its namespace.

    Args:
        requests: all requests of the Tenant.
        kept: the reservations that there are.
        now: the present.
    """
    reserved = {reservation.uid for reservation in kept}
    found = [each for each in requests if each.running and not each.finished and each.uid not in reserved]
    return [
        _reservation(request, request.demand or request.policy.demand(0, 0) or Demand(), now)
        for request in found[: MAX_RESERVATIONS - len(reserved)]
    ]


def usage_of_day(quota: TenantQuotaStatus, tenant: Tenant, now: datetime) -> TenantQuotaStatus:
    """Return `quota` with the usage of the day of `now`; a clock that is behind does not turn the day back.

    Args:
        quota: the status of the Tenant's quota.
        tenant: its status has the usage for a quota that was never written, because the one before it was deleted.
        now: the present.
    """
    today = f"{now.astimezone(UTC):%Y-%m-%d}"
    copy = tenant.status.usage
    if quota.day is None and tenant.status.day is not None and copy is not None:
        used = {"day": tenant.status.day, "audio_millis": copy.audio_millis_today, "pages": copy.pages_today}
        quota = quota.model_copy(update=used)
    if (quota.day or "") >= today:
        return quota
    return quota.model_copy(update={"day": today, "audio_millis": 0, "pages": 0})


def add_usage(quota: TenantQuotaStatus, released: Iterable[Usage]) -> TenantQuotaStatus:
    """Return `quota` with what ended since; figures that cannot be count as none, or as the most that can be."""
    works = [Work.of(each.audio_seconds, each.pages) for each in released]
    millis, pages = sum(work.audio_millis for work in works), sum(work.pages for work in works)
    return quota.model_copy(update={"audio_millis": quota.audio_millis + millis, "pages": quota.pages + pages})


def pending_requests(requests: Iterable[AdmissionRequest], kept: Iterable[QuotaReservation]) -> list[AdmissionRequest]:
    """Return the requests that are to be admitted and have no reservation."""
    reserved = {reservation.uid for reservation in kept}
    return [each for each in requests if each.active and not each.finished and each.uid not in reserved]


def admission_order(request: AdmissionRequest) -> tuple[bool, int, datetime, str]:
    """Return the sort key of the queue: pools, then priority, then age, then UID."""
    return not request.policy.goes_first, -request.priority, request.created, request.uid


class QuotaAllocator:
    """Admits the requests that the limits leave room for."""

    def __init__(
        self, tenant: Tenant, reservations: Sequence[QuotaReservation], used: TenantQuotaStatus, under_way: Usage
    ) -> None:
        """Start from what is reserved and used.

        Args:
            tenant: its name and limits.
            reservations: those that stay.
            used: has what was charged today.
            under_way: what those that stay have used so far, and will be charged for.
        """
        self._name = tenant.metadata.name
        self._reservations = list(reservations)
        self._limits = _limits(tenant.spec.limits)
        self._free = {
            name: limit - sum(getattr(each, name) or 0 for each in reservations) for name, limit in self._limits.items()
        }
        """What the reservations leave."""
        self._unreserved = dict(self._free)
        """What the pending requests ahead leave of that; may be negative."""
        self._exhausted_today = exhausted_meters(tenant.spec.limits, used, under_way)

    def admit(self, queue: Iterable[AdmissionRequest], now: datetime) -> tuple[Reservations, dict[str, Admission]]:
        """Return the new reservations, and the answers to the requests that were not admitted, by UID."""
        pending: dict[str, Admission] = {}
        position = 0
        for request in queue:
            if request.demand is None:
                continue
            answer = self._obstacle(request, request.demand)
            if answer is None:
                # What it used before, it was charged for when it was suspended, or was no Tenant's.
                self._reservations.append(_reservation(request, request.demand, now, request.usage))
                self._take(request.demand, self._free, self._unreserved)
                continue
            if answer.state == "Waiting" and answer.reason != Reason.LIMIT_TOO_SMALL:
                position += 1
                answer = waiting(Reason(answer.reason), answer.message, self._name, position=position)
            pending[request.uid] = answer
        return self._reservations, pending

    def _obstacle(self, request: AdmissionRequest, demand: Demand) -> Admission | None:
        """Return why a request is not admitted; None if it is. Reserve the demand of one that waits for others."""
        queues = request.policy.queues
        too_big = next((name for name in _RESOURCES if self._limits[name] < getattr(demand, name)), None)
        if queues and too_big is not None:
            return self._too_small(too_big, demand, request.policy.remedy)
        meter = request.policy.meter
        if meter is not None and meter in self._exhausted_today:
            reason, what = _METERS[meter]
            message = f'Tenant "{self._name}" has used up its {what} for today; the day ends at 00:00 UTC.'
            return waiting(reason, message, self._name) if queues else refused(reason, message, self._name)
        lacking = self._lacking(demand, self._unreserved)
        full = len(self._reservations) >= MAX_RESERVATIONS
        if lacking is None and not full:
            return None
        if not queues:
            return refused(*self._exhausted(lacking or "streams"), self._name)
        own = self._lacking(demand, self._free)
        if own is None and not full:
            answer = waiting(
                Reason.WAITING_FOR_ADMISSION,
                f'Other resources of tenant "{self._name}" are ahead: pools, and jobs that are older or have a higher'
                " priority.",
                self._name,
            )
        else:
            answer = waiting(*self._exhausted(own or "jobs"), self._name)
        self._take(demand, self._unreserved)
        return answer

    def _exhausted(self, name: str) -> tuple[Reason, str]:
        reason, what = _EXHAUSTED[name]
        limit = min(self._limits[name], MAX_RESERVATIONS) if name == "jobs" else self._limits[name]
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
    given["servers"] = limits.servers
    return {name: math.inf if limit is None else limit for name, limit in given.items()}


def exhausted_meters(limits: TenantLimits, used: TenantQuotaStatus, under_way: Usage) -> frozenset[Meter]:
    """Return the daily limits that are reached.

    Args:
        limits: of the Tenant.
        used: has what was charged today.
        under_way: what is used so far by what has a reservation.
    """
    minutes = used.audio_millis / 60_000 + under_way.audio_seconds / 60
    pages = used.pages + under_way.pages
    reached: list[Meter] = []
    if limits.audio_minutes_per_day is not None and minutes >= limits.audio_minutes_per_day:
        reached.append("audio")
    if limits.pages_per_day is not None and pages >= limits.pages_per_day:
        reached.append("pages")
    return frozenset(reached)


def under_way(reservations: Iterable[QuotaReservation], requests: Mapping[str, AdmissionRequest]) -> Usage:
    """Return what resources have used that will be charged when their reservations are released.

    Args:
        reservations: those that stay.
        requests: at least the requests that have a reservation, by UID.
    """
    return total(uncharged(one, requests[one.uid].usage) for one in reservations)


def _reservation(
    request: AdmissionRequest, demand: Demand, now: datetime, charged: Usage = NOTHING_CHARGED
) -> QuotaReservation:
    work = Work.of(charged.audio_seconds, charged.pages)
    return QuotaReservation(
        charged=None if work == Work() else work,
        uid=request.uid,
        kind=request.kind,
        namespace=request.namespace,
        name=request.name,
        gpus=demand.gpus,
        jobs=demand.jobs,
        streams=demand.streams,
        servers=demand.servers or None,
        since=now,
    )
