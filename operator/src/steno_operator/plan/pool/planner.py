"""The planner of RuntimePools: a Deployment and a Service, scaled by open sessions and queued jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

from steno_api.failures import FailureReason
from steno_api.server.task import ATTEMPTS_AT_ONCE
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import PoolPhase, RuntimePool
from steno_operator.manifests.deployment import ServerConfig, build_deployment, digest_of
from steno_operator.manifests.labels import pool_child_name, pool_selector
from steno_operator.manifests.service import build_service
from steno_operator.plan.common.clock import earliest, truncate_to_seconds
from steno_operator.plan.common.conditions import Fact, Facts, find, holds
from steno_operator.plan.common.finish import EventRules, Transition, condition_events, finish
from steno_operator.plan.common.pending import WAITING_FOR_POD, explain_pod, explain_refusal
from steno_operator.plan.common.plan import Action, ApplyChild, EmitEvent, PoolPlan
from steno_operator.plan.common.pods import ended
from steno_operator.plan.common.policy import CONFLICT_RECHECK, PROFILE_RECHECK, Policy
from steno_operator.plan.common.profiles import usable_profile
from steno_operator.plan.pool.observed import ObservedPool, ObservedServer

_EVENTS: EventRules = {
    (ConditionType.ACCEPTED, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACCEPTED, ConditionStatus.FALSE): "Warning",
    (ConditionType.STALLED, ConditionStatus.TRUE): "Warning",
    (ConditionType.READY, ConditionStatus.TRUE): "Normal",
}


class StatusUpdate(TypedDict):
    """Fields of a pool's status that its plan sets."""

    replicas: int
    ready_replicas: int
    selector: str
    sessions: int
    queued_jobs: int
    capacity: int
    idle_since: datetime | None


@dataclass(frozen=True)
class _Decision:
    facts: Facts
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None


@dataclass(frozen=True)
class _Size:
    """How many servers the pool is to have."""

    replicas: int
    idle_since: datetime | None = None
    shrink_at: datetime | None = None
    lacking: Fact | None = None
    """Why there are not as many as it needs."""


def max_replicas(pool: RuntimePool) -> int:
    """Return how many servers a pool may have."""
    return pool.spec.max_replicas if pool.spec.replicas is None else pool.spec.replicas


def capacity(pool: RuntimePool) -> int:
    """Return how many sessions a pool takes at most."""
    return max_replicas(pool) * pool.spec.sessions_per_replica


def plan_pool(observed: ObservedPool, now: datetime, policy: Policy) -> PoolPlan:
    """Return what to do for a pool, its new status, and when to requeue.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the pool and everything that exists because of it.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now, pool = truncate_to_seconds(now), observed.pool
    if pool.metadata.deletion_timestamp is not None:
        return PoolPlan((), pool.status)
    size = _granted(observed, _size(observed, now))
    decision, deployment = _decide(observed, policy, size), observed.deployment
    # It stays idle until its servers can go: without its profile, say, none can.
    shrinks = size.shrink_at is not None and now >= size.shrink_at
    update = StatusUpdate(
        replicas=deployment.total if deployment is not None else 0,
        ready_replicas=deployment.ready if deployment is not None else 0,
        selector=",".join(f"{key}={value}" for key, value in pool_selector(pool.metadata.uid).items()),
        sessions=observed.sessions,
        queued_jobs=_jobs(observed),
        capacity=capacity(pool),
        idle_since=None if shrinks and decision.actions else size.idle_since,
    )
    shrink = None if shrinks or size.shrink_at is None else size.shrink_at - now
    requeue_after = earliest(decision.requeue_after, shrink)
    return finish(
        pool.metadata,
        pool.status,
        Transition(decision.facts, update, decision.actions, requeue_after),
        now,
        phase_of=_phase,
        events_of=lambda new: condition_events(pool.status.conditions, new.conditions, _EVENTS),
        # Conflicting objects are not the pool's children, so no watch reports when they go.
        requires_live_read=bool(observed.conflicting),
    )


def _phase(conditions: Sequence[Condition]) -> PoolPhase:
    ready = find(conditions, ConditionType.READY)
    if ready is not None and holds(conditions, ConditionType.READY):
        return "Idle" if ready.reason == Reason.IDLE else "Ready"
    if holds(conditions, ConditionType.STALLED):
        return "Failed"
    return "Scaling" if holds(conditions, ConditionType.ACCEPTED) else "Pending"


def _size(observed: ObservedPool, now: datetime) -> _Size:
    """Decide the number of servers.

    Kubernetes chooses which pod goes when a Deployment shrinks, so no server is removed while a session is open or a
    job queued: the pool goes back to `minReplicas` at once, a while after the last of them ended.
    """
    spec = observed.pool.spec
    if spec.replicas is not None:
        return _Size(spec.replicas)
    current = observed.deployment.replicas if observed.deployment is not None else 0
    needed = _needed(observed)
    kept = min(max(current, needed), spec.max_replicas)
    if observed.sessions > 0 or _jobs(observed) > 0 or kept == needed:
        return _Size(kept)
    since = observed.pool.status.idle_since or now
    until = since + timedelta(seconds=spec.scale_down_delay_seconds)
    return _Size(needed if now >= until else kept, since, until)


def _jobs(observed: ObservedPool) -> int:
    """Return how many jobs the pool works for."""
    return observed.jobs if observed.pool.spec.serves_queue else 0


def _needed(observed: ObservedPool) -> int:
    """Return how many servers the pool needs."""
    spec = observed.pool.spec
    servers = max(-(-observed.sessions // spec.sessions_per_replica), -(-_jobs(observed) // ATTEMPTS_AT_ONCE))
    return min(max(servers, spec.min_replicas), spec.max_replicas) if spec.replicas is None else spec.replicas


def _granted(observed: ObservedPool, size: _Size) -> _Size:
    """Limit the size to what the Tenant admitted: without a reservation no server is added."""
    admission, accelerator = observed.admission, None if observed.profile is None else observed.profile.spec.accelerator
    if admission.state == "NotRequired":
        return size
    if not admission.open:
        limit = observed.deployment.replicas if observed.deployment is not None else 0
        lacking = Fact(False, admission.reason, admission.message)
    else:
        limit = size.replicas if accelerator is None else admission.gpus // accelerator.count
        reason, what = Reason.GPUS_EXHAUSTED, f"{admission.gpus} GPUs"
        if admission.servers is not None and admission.servers < limit:
            limit, reason, what = admission.servers, Reason.SERVERS_EXHAUSTED, f"{admission.servers} servers"
        message = (
            f'Tenant "{admission.tenant}" reserved {what} when the pool last requested them; it requests'
            " more once it has no server."
        )
        lacking = Fact(False, reason, message)
    if size.replicas <= limit:
        return size
    needed = _needed(observed)
    if limit > needed:  # servers that are only kept for a while are not missed
        return replace(size, replicas=limit)
    return _Size(limit, lacking=lacking if needed > limit else None)


def _decide(observed: ObservedPool, policy: Policy, size: _Size) -> _Decision:
    """The first matching rule wins."""
    pool = observed.pool
    name, tenant = pool.spec.profile_ref.name, observed.admission.tenant
    profile = usable_profile(observed.profile, name, tenant, remedy="name another in spec.profileRef")
    if isinstance(profile, Fact):
        return _Decision(_facts(profile, accepted=profile), requeue_after=PROFILE_RECHECK)
    if (refused := _refused(pool, policy)) is not None:
        return _Decision(_facts(refused, accepted=refused))
    if not observed.token_keys:
        message = "The operator has no key to sign session tokens with; its log says why."
        return _Decision(_facts(Fact(False, Reason.SIGNING_KEY_MISSING, message)))
    if observed.conflicting:
        kinds = " and a ".join(sorted(observed.conflicting))
        name = pool_child_name(pool.metadata.name)
        message = f'A {kinds} named "{name}" exists that is not this pool\'s: delete it, or give the pool another name.'
        taken = Fact(False, FailureReason.NAME_CONFLICT, message)
        return _Decision(_facts(taken, stalled=True), requeue_after=CONFLICT_RECHECK)
    if observed.refusal:
        refused = Fact(False, Reason.CHILD_REFUSED, observed.refusal)
        again = policy.backoff_base
        return _Decision(_facts(refused, stalled=observed.refusal_final), requeue_after=again)
    config = ServerConfig(
        runtime_image=policy.runtime_image,
        report_url=policy.report_url,
        report_ca=policy.report_ca,
        metrics_token_sha256=policy.metrics_token_sha256,
        report_interval_seconds=policy.server_report_interval.total_seconds(),
        token_keys=_token_keys(observed),
        pod_labels=policy.pod_labels,
        egress=policy.egress,
        queue=policy.queue,
    )
    service = build_service(pool)
    services = [ApplyChild(service)] if observed.service_digest != digest_of(service) else []
    servers = _deploy(observed, build_deployment(pool, profile, config, size.replicas), size)
    return _Decision(_facts(_ready(observed, size, changed=bool(servers))), (*services, *servers))


def _refused(pool: RuntimePool, policy: Policy) -> Fact | None:
    """Return why the pool's spec cannot be carried out here."""
    if pool.spec.exposes_plaintext:
        message = (
            f"A Service of type {pool.spec.service.type} would carry tokens and audio out of the cluster in plain text:"
            " set spec.tls.secretRef, or spec.service.allowPlaintext: true."
        )
        return Fact(False, Reason.PLAINTEXT_REFUSED, message)
    if pool.spec.serves_queue and policy.queue is None:
        message = (
            "The operator has no queue server, which the workload Queue needs: ask the administrator to set queue, or"
            " remove Queue from spec.workloads."
        )
        return Fact(False, Reason.QUEUE_NOT_CONFIGURED, message)
    return None


def _token_keys(observed: ObservedPool) -> tuple[str, ...]:
    """Return the keys to start servers with: servers that are there are told of new ones, and are not replaced."""
    deployment = observed.deployment
    before = () if deployment is None or deployment.replicas == 0 else deployment.token_keys
    return before if before and observed.held_keys.issuperset(before) else observed.token_keys


def _deploy(observed: ObservedPool, manifest: dict[str, Any], size: _Size) -> list[Action]:
    before = observed.deployment
    if before is not None and (before.digest, before.replicas) == (digest_of(manifest), size.replicas):
        return []
    actions: list[Action] = [ApplyChild(manifest)]
    if (before.replicas if before is not None else 0) != size.replicas:
        jobs = f" and {_jobs(observed)} queued job(s)" if _jobs(observed) else ""
        message = f"{size.replicas} server(s) for {observed.sessions} open session(s){jobs}."
        actions.append(EmitEvent("Normal", Reason.SCALED, message))
    return actions


def _ready(observed: ObservedPool, size: _Size, *, changed: bool) -> Fact:
    """The condition Ready of a pool whose children can be made."""
    deployment = observed.deployment
    if size.lacking is not None:
        return size.lacking
    if size.replicas == 0:
        idle = "No session is open and no job queued." if observed.pool.spec.serves_queue else "No session is open."
        why = idle if observed.pool.spec.replicas is None else "spec.replicas is 0."
        return Fact(True, Reason.IDLE, f"{why} The pool has no server.")
    ready = deployment.ready if deployment is not None else 0
    count = f"{ready} of {size.replicas} server(s) are warm"
    if ready >= size.replicas and deployment is not None and deployment.rolled_out and not changed:
        return Fact(True, Reason.SERVING, f"{count}.")
    obstacle = _obstacle(observed)
    return Fact(False, obstacle.reason, f"{count}. {obstacle.message}")


def _obstacle(observed: ObservedPool) -> QueueStatus:
    """Return why servers are missing: that of the oldest pod that is not warm, else why there is none."""
    cold = sorted(
        (server for server in observed.servers if not server.ready and not server.pod.deleting),
        key=lambda server: (server.pod.created.isoformat() if server.pod.created else "", server.pod.name),
    )
    failure = observed.deployment.failure if observed.deployment is not None else ""
    if not cold:
        return explain_refusal(failure) if failure else WAITING_FOR_POD
    ready = find(observed.pool.status.conditions, ConditionType.READY)
    before = None if ready is None else QueueStatus(reason=ready.reason, message=ready.message.partition(". ")[2])
    return _explain(cold[0], before)


def _explain(server: ObservedServer, before: QueueStatus | None) -> QueueStatus:
    pod = server.pod
    if pod.waiting_reason == "CrashLoopBackOff" or (ended(pod) and server.last_exit):
        return QueueStatus(
            reason=Reason.CRASH_LOOP,
            message=f"Pod {pod.name} keeps crashing: {server.last_exit or pod.waiting_message}",
        )
    if ended(pod):
        return QueueStatus(reason=Reason.WAITING_FOR_POD, message=f"Pod {pod.name} ended and is replaced.")
    if not pod.started:
        return explain_pod(pod, before)
    again = f" It ended before: {server.last_exit}" if server.last_exit else ""
    return QueueStatus(reason=Reason.LOADING_MODEL, message=f"Pod {pod.name} runs and is not warm yet.{again}")


def _facts(ready: Fact, *, accepted: Fact | None = None, stalled: bool = False) -> Facts:
    return {
        ConditionType.READY: ready,
        ConditionType.RECONCILING: Fact(not ready.holds and not stalled, ready.reason, ready.message),
        ConditionType.STALLED: Fact(stalled, ready.reason, ready.message if stalled else ""),
        ConditionType.ACCEPTED: accepted
        or Fact(True, Reason.ACCEPTED, "The spec is valid and its RuntimeProfile exists."),
    }
