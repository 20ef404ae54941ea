"""Session readiness: what keeps a client from connecting: the pool, output, quota or a place."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from steno_api.v1alpha1.common import DEFAULT_POOL, QueueStatus
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.manifests import labels
from steno_operator.manifests.session_token import OUTPUT_FIELDS, WHERE_TO, build_default_pool
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.conditions import Fact, find, holds
from steno_operator.plan.common.plan import Action, CreatePool, EmitEvent
from steno_operator.plan.common.policy import PROFILE_RECHECK, Policy
from steno_operator.plan.pool.planner import capacity
from steno_operator.plan.session.observed import ObservedSession

_RECOVERABLE = frozenset({Reason.TENANT_MISMATCH, Reason.NO_TENANT})
"""Refusals that end when an administrator changes a Tenant."""


@dataclass(frozen=True)
class SessionReadiness:
    """How ready a session is that is not connected."""

    accepted: Fact
    admitted: Fact
    queue: QueueStatus | None = None
    """What it waits for; absent: a client may connect."""
    refused: str | None = None
    """Why the tenant's quota refuses it for good."""
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None


def evaluate_readiness(observed: ObservedSession, policy: Policy) -> SessionReadiness:
    """Return how ready the session is: the first obstacle is what it waits for."""
    session, pool = observed.session, observed.pool
    admitted = _admitted(observed)
    if not admitted.holds and observed.admission.state == "Refused":  # before anything is made for it
        return _unadmitted(observed.admission, Fact(True, Reason.ACCEPTED, "The spec is valid."), admitted)
    if pool is None or pool.metadata.deletion_timestamp is not None:
        return _without_pool(observed, admitted, policy)
    if (fault := _fault(session, pool)) is not None:
        return SessionReadiness(fault, admitted, QueueStatus(reason=fault.reason, message=fault.message))
    accepted = Fact(True, Reason.ACCEPTED, f'The spec is valid and RuntimePool "{pool.metadata.name}" fits it.')
    if not admitted.holds:
        return _unadmitted(observed.admission, accepted, admitted)
    queue = _place(observed, pool)
    requeue_after = policy.backoff_base if observed.refusal else None
    return SessionReadiness(accepted, admitted, queue, requeue_after=requeue_after)


def as_accepted(readiness: SessionReadiness) -> SessionReadiness:
    """Return the readiness of a session that was ready before: whatever becomes of its pool, it was accepted."""
    return replace(readiness, accepted=Fact(True, Reason.ACCEPTED, "The spec is valid and its RuntimePool served it."))


def _admitted(observed: ObservedSession) -> Fact:
    """A session that was admitted once stays admitted."""
    admission = observed.admission
    before = holds(observed.session.status.conditions, ConditionType.ADMITTED)
    if before or admission.state in ("NotRequired", "Admitted"):
        return Fact(True, Reason.ADMITTED)
    return Fact(False, admission.reason or Reason.NOT_STARTED, admission.message)


def _unadmitted(answer: Admission, accepted: Fact, admitted: Fact) -> SessionReadiness:
    """The session's Tenant has no room for it, or no Tenant has its namespace."""
    if answer.state == "Refused" and answer.reason not in _RECOVERABLE:
        return SessionReadiness(accepted, admitted, refused=answer.message)
    queue = QueueStatus(reason=answer.reason, message=answer.message, position=answer.position)
    if answer.state == "Refused":
        accepted = Fact(False, answer.reason, answer.message)
    return SessionReadiness(accepted, admitted, queue)


def _without_pool(observed: ObservedSession, admitted: Fact, policy: Policy) -> SessionReadiness:
    session, name = observed.session, observed.session.spec.pool_ref.name
    if observed.pool is not None:
        message, actions = f'RuntimePool "{name}" is being deleted.', ()
    elif name != DEFAULT_POOL:
        message, actions = f'RuntimePool "{name}" does not exist: create it, or name another in a new session.', ()
    elif observed.refusal:
        message, actions = f'RuntimePool "{name}" was refused: {observed.refusal}', ()
    else:
        message, actions = f'RuntimePool "{name}" is being created.', _create_pool(session, policy)
    reason = Reason.CHILD_REFUSED if observed.refusal else Reason.POOL_NOT_FOUND
    missing = Fact(False, reason, message)
    queue = QueueStatus(reason=reason, message=message)
    requeue_after = policy.backoff_base if observed.refusal else PROFILE_RECHECK
    return SessionReadiness(missing, admitted, queue, actions=actions, requeue_after=requeue_after)


def _create_pool(session: StreamSession, policy: Policy) -> tuple[Action, ...]:
    given = policy.default_pool
    spec: dict[str, Any] = {
        "profileRef": {"name": given.profile},
        "model": {"name": given.model},
        "maxReplicas": given.max_replicas,
        "sessionsPerReplica": given.sessions_per_replica,
    }
    if given.tls_secret:
        spec["tls"] = {"secretRef": {"name": given.tls_secret}}
    manifest = build_default_pool(session, spec)
    name = session.spec.pool_ref.name
    event = EmitEvent("Normal", Reason.POOL_CREATED, f'RuntimePool "{name}" is created for this session.')
    return CreatePool(manifest), event


def _fault(session: StreamSession, pool: RuntimePool) -> Fact | None:
    """Return why the pool cannot serve the session at all as it is."""
    if not pool.spec.serves_sessions:
        message = f'RuntimePool "{pool.metadata.name}" serves no sessions: add Streams to its spec.workloads.'
        return Fact(False, Reason.WORKLOAD_NOT_SERVED, message)
    if (message := _output_fault(session, pool)) is not None:
        return Fact(False, Reason.OUTPUT_NOT_OF_POOL, message)
    accepted = find(pool.status.conditions, ConditionType.ACCEPTED)
    if accepted is not None and accepted.status is ConditionStatus.FALSE:
        return Fact(False, accepted.reason, f'RuntimePool "{pool.metadata.name}": {accepted.message}')
    return None


def _output_fault(session: StreamSession, pool: RuntimePool) -> str | None:
    """Servers publish with the pool's credentials: a session's output must agree with the pool's.

    What it leaves out is the pool's, where somebody set it up; not where another session's author did, by being first.
    """
    output, given, name = session.spec.output, pool.spec.output, pool.metadata.name
    if output is None:
        return None
    ours, theirs = output.to_wire(), {} if given is None else given.to_wire()
    ours = {field: ours[field] for field in OUTPUT_FIELDS if field in ours}
    wanted = json.dumps({"spec": {"output": {**theirs, **ours}}}, separators=(",", ":"))
    namespace = session.metadata.namespace or "default"
    set_it = f"kubectl patch runtimepool {name} -n {namespace} --type=merge -p {shlex.quote(wanted)}"
    if given is None:
        return (
            f'RuntimePool "{name}" has no spec.output, so its servers cannot publish: set it there (`{set_it}`;'
            " `output: {}` is the pods' own identity), or leave spec.output out of a new session."
        )
    on_demand = pool.metadata.labels.get(labels.MANAGED_BY) == labels.MANAGED_BY_VALUE
    inherited = next((field for field in WHERE_TO if on_demand and field in theirs and field not in ours), None)
    if inherited is not None:
        return (
            f'RuntimePool "{name}" was made for another session and has the spec.output.{inherited} of that one: give '
            "the same in a new session, or have an administrator of the namespace say that it is everybody's: "
            f"`kubectl label runtimepool {name} -n {namespace} {labels.MANAGED_BY}-`."
        )
    different = next((field for field in ours if ours[field] != theirs.get(field)), None)
    if different is None:
        return None
    return (
        f'spec.output.{different} differs from that of RuntimePool "{name}", whose servers publish: leave it out of a'
        f" new session, name another pool, or change the pool's, which replaces its servers: `{set_it}`."
    )


def _place(observed: ObservedSession, pool: RuntimePool) -> QueueStatus | None:
    """Return what is missing for a place in the pool."""
    name, places = pool.metadata.name, capacity(pool)
    if observed.ahead >= places:
        if places == 0:
            return QueueStatus(reason=Reason.POOL_NOT_READY, message=f'spec.replicas of RuntimePool "{name}" is 0.')
        return QueueStatus(
            reason=Reason.POOL_FULL,
            message=f'All {places} places of RuntimePool "{name}" are taken; the oldest session gets the next one.',
            position=observed.ahead - places + 1,
        )
    if observed.ahead >= pool.status.ready_replicas * pool.spec.sessions_per_replica:
        ready = find(pool.status.conditions, ConditionType.READY)
        not_ready = ready is not None and ready.status is ConditionStatus.FALSE
        detail = ready.message if ready is not None and not_ready else "A server is being started."
        return QueueStatus(reason=Reason.POOL_NOT_READY, message=f'RuntimePool "{name}": {detail}')
    if not observed.key_id:
        message = "The operator has no key to sign session tokens with; its log says why."
        return QueueStatus(reason=Reason.SIGNING_KEY_MISSING, message=message)
    if observed.refusal:
        return QueueStatus(reason=Reason.CHILD_REFUSED, message=f"The token's Secret was refused: {observed.refusal}")
    return None
