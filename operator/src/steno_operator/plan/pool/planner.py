"""The planner of RuntimePools: a Deployment and a Service, scaled by the sessions that are open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from steno_api.failures import FailureReason
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_operator.manifests.deployment import ServerConfig, build_deployment, digest_of
from steno_operator.manifests.labels import pool_child_name, pool_selector
from steno_operator.manifests.service import build_service
from steno_operator.plan.common.clock import earliest, whole
from steno_operator.plan.common.conditions import Fact, Facts, conditions_of, find
from steno_operator.plan.common.finish import EventRules, condition_events
from steno_operator.plan.common.pending import WAITING_FOR_POD, explain_pod, explain_refusal
from steno_operator.plan.common.phase import pool_phase
from steno_operator.plan.common.plan import Action, ApplyChild, EmitEvent, PoolPlan
from steno_operator.plan.common.pods import ended
from steno_operator.plan.common.policy import FOREIGN_RECHECK, PROFILE_RECHECK, Policy
from steno_operator.plan.pool.observed import ObservedPool, ObservedServer

_EVENTS: EventRules = {
    (ConditionType.ACCEPTED, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACCEPTED, ConditionStatus.FALSE): "Warning",
    (ConditionType.STALLED, ConditionStatus.TRUE): "Warning",
    (ConditionType.READY, ConditionStatus.TRUE): "Normal",
}


@dataclass(frozen=True)
class _Step:
    facts: Facts
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None


@dataclass(frozen=True)
class _Size:
    """How many servers there shall be."""

    replicas: int
    idle_since: datetime | None = None
    shrink_at: datetime | None = None
    lacking: Fact | None = None
    """Why there are not as many as there should be."""


def most_replicas(pool: RuntimePool) -> int:
    """Returns how many servers a pool may come to have."""
    return pool.spec.max_replicas if pool.spec.replicas is None else pool.spec.replicas


def capacity(pool: RuntimePool) -> int:
    """Returns how many sessions a pool takes at most."""
    return most_replicas(pool) * pool.spec.sessions_per_replica


def plan_pool(observed: ObservedPool, now: datetime, policy: Policy) -> PoolPlan:
    """Returns what to do for a pool, the status to stand, and when to look again.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the pool and everything that exists because of it.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now, pool = whole(now), observed.pool
    if pool.metadata.deletion_timestamp is not None:
        return PoolPlan((), pool.status)
    size = _granted(observed, _size(observed, now))
    step = _decide(observed, policy, size)
    generation, deployment = pool.metadata.generation, observed.deployment
    conditions = conditions_of(step.facts, pool.status.conditions, generation=generation, now=now)
    status = pool.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions,
            "phase": pool_phase(conditions),
            "replicas": deployment.total if deployment is not None else 0,
            "ready_replicas": deployment.ready if deployment is not None else 0,
            "selector": ",".join(f"{key}={value}" for key, value in pool_selector(pool.metadata.uid).items()),
            "sessions": observed.sessions,
            "capacity": capacity(pool),
            "idle_since": size.idle_since,
        }
    )
    told = condition_events(pool.status.conditions, conditions, _EVENTS)
    shrink = None if size.shrink_at is None else size.shrink_at - now
    # What conflicts with a child is no child of ours, so no watch tells when it goes.
    uncertain = bool(observed.foreign)
    return PoolPlan((*step.actions, *told), status, earliest(step.requeue_after, shrink), uncertain)


def _size(observed: ObservedPool, now: datetime) -> _Size:
    """Decides the number of servers.

    Which pod goes when a Deployment shrinks is not ours to say, so no server is taken away while a session is open:
    all of them go back to `minReplicas` together, a while after the last session ended.
    """
    spec = observed.pool.spec
    if spec.replicas is not None:
        return _Size(spec.replicas)
    current = observed.deployment.replicas if observed.deployment is not None else 0
    wanted = _wanted(observed)
    kept = min(max(current, wanted), spec.max_replicas)
    if observed.sessions > 0 or kept == wanted:
        return _Size(kept)
    since = observed.pool.status.idle_since or now
    until = since + timedelta(seconds=spec.scale_down_delay_seconds)
    return _Size(wanted) if now >= until else _Size(kept, since, until)


def _wanted(observed: ObservedPool) -> int:
    """Returns how many servers the pool is to have at least."""
    spec = observed.pool.spec
    needed = -(-observed.sessions // spec.sessions_per_replica)
    return min(max(needed, spec.min_replicas), spec.max_replicas) if spec.replicas is None else spec.replicas


def _granted(observed: ObservedPool, size: _Size) -> _Size:
    """Takes back what the Tenant did not grant: without its word no server is added, with it as many as it is for."""
    admission, accelerator = observed.admission, None if observed.profile is None else observed.profile.spec.accelerator
    if admission.state == "NotRequired":
        return size
    if not admission.open:
        most = observed.deployment.replicas if observed.deployment is not None else 0
        lacking = Fact(False, admission.reason, admission.message)
    else:
        most = size.replicas if accelerator is None else admission.gpus // accelerator.count
        message = (
            f'Tenant "{admission.tenant}" granted {admission.gpus} GPUs when the pool asked last; it asks for more once'
            " it has no server."
        )
        lacking = Fact(False, Reason.GPUS_EXHAUSTED, message)
    if size.replicas <= most:
        return size
    wanted = _wanted(observed)
    if most > wanted:  # servers that are only kept for a while are not missed
        return replace(size, replicas=most)
    return _Size(most, lacking=lacking if wanted > most else None)


def _decide(observed: ObservedPool, policy: Policy, size: _Size) -> _Step:
    """The ladder: the first rung that holds is what happens."""
    pool = observed.pool
    if observed.profile is None:
        name = pool.spec.profile_ref.name
        message = f'RuntimeProfile "{name}" does not exist: create it, or name another in spec.profileRef.'
        missing = Fact(False, Reason.PROFILE_NOT_FOUND, message)
        return _Step(_facts(missing, accepted=missing), requeue_after=PROFILE_RECHECK)
    if not observed.token_keys:
        message = "The operator has no key to sign session tokens with; its log says why."
        return _Step(_facts(Fact(False, Reason.SIGNING_KEY_MISSING, message)))
    if observed.foreign:
        kinds = " and a ".join(sorted(observed.foreign))
        name = pool_child_name(pool.metadata.name)
        message = f'A {kinds} named "{name}" exists that is not ours: delete it, or give this pool another name.'
        taken = Fact(False, FailureReason.NAME_CONFLICT, message)
        return _Step(_facts(taken, stalled=True), requeue_after=FOREIGN_RECHECK)
    if observed.refusal:
        refused = Fact(False, Reason.CHILD_REFUSED, observed.refusal)
        again = policy.backoff_base
        return _Step(_facts(refused, stalled=observed.refusal_final), requeue_after=again)
    config = ServerConfig(
        runtime_image=policy.runtime_image,
        report_url=policy.report_url,
        report_interval_seconds=policy.server_report_interval.total_seconds(),
        token_keys=observed.token_keys,
        pod_labels=policy.pod_labels,
    )
    service = build_service(pool)
    lead = [ApplyChild(service)] if observed.service_digest != digest_of(service) else []
    servers = _deploy(observed, build_deployment(pool, observed.profile, config, size.replicas), size)
    return _Step(_facts(_serving(observed, size, changed=bool(servers))), (*lead, *servers))


def _deploy(observed: ObservedPool, manifest: dict[str, Any], size: _Size) -> list[Action]:
    before = observed.deployment
    if before is not None and (before.digest, before.replicas) == (digest_of(manifest), size.replicas):
        return []
    actions: list[Action] = [ApplyChild(manifest)]
    if (before.replicas if before is not None else 0) != size.replicas:
        message = f"{size.replicas} server(s) for {observed.sessions} open session(s)."
        actions.append(EmitEvent("Normal", Reason.SCALED, message))
    return actions


def _serving(observed: ObservedPool, size: _Size, *, changed: bool) -> Fact:
    """The condition Ready of a pool whose children can be made."""
    deployment = observed.deployment
    if size.lacking is not None:
        return size.lacking
    if size.replicas == 0:
        why = "No session is open." if observed.pool.spec.replicas is None else "spec.replicas is 0."
        return Fact(True, Reason.IDLE, f"{why} The pool has no server.")
    ready = deployment.ready if deployment is not None else 0
    count = f"{ready} of {size.replicas} server(s) are warm"
    if ready >= size.replicas and deployment is not None and deployment.settled and not changed:
        return Fact(True, Reason.SERVING, f"{count}.")
    trouble = _trouble(observed)
    return Fact(False, trouble.reason, f"{count}. {trouble.message}")


def _trouble(observed: ObservedPool) -> QueueStatus:
    """Returns why servers are missing: that of the oldest pod that is not warm, else why there is none."""
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
    if pod.waiting_reason == "CrashLoopBackOff" or (ended(pod) and server.last_words):
        return QueueStatus(
            reason=Reason.CRASH_LOOP, message=f"Pod {pod.name} dies again and again: {server.last_words}"
        )
    if ended(pod):
        return QueueStatus(reason=Reason.WAITING_FOR_POD, message=f"Pod {pod.name} ended and is replaced.")
    if not pod.started:
        return explain_pod(pod, before)
    again = f" It ended before: {server.last_words}" if server.last_words else ""
    return QueueStatus(reason=Reason.LOADING_MODEL, message=f"Pod {pod.name} runs and is not warm yet.{again}")


def _facts(ready: Fact, *, accepted: Fact | None = None, stalled: bool = False) -> Facts:
    return {
        ConditionType.READY: ready,
        ConditionType.RECONCILING: Fact(not ready.holds and not stalled, ready.reason, ready.message),
        ConditionType.STALLED: Fact(stalled, ready.reason, ready.message if stalled else ""),
        ConditionType.ACCEPTED: accepted
        or Fact(True, Reason.ACCEPTED, "The spec is valid and its RuntimeProfile exists."),
    }
