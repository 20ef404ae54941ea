"""The choice of `execution: Auto`: a warm pool for what is short, else a pod of its own.

The source has not been read yet. What the spec itself says (pages, volumes, Secrets) is used; a source whose length is
not known is taken for short, and the pool's server, which knows first, hands it back if it is not (`TooLongForPool`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from steno_api.v1alpha1.job import ExecutionChoice
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.task import ShortSource
from steno_operator.plan.common.conditions import clip, find
from steno_operator.plan.common.plan import EmitEvent, Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.message import misfit_of
from steno_operator.plan.job.observed import Job, ObservedJob, PoolLoad

_ON_ITS_WAY = frozenset({Reason.LOADING_MODEL, Reason.WAITING_FOR_POD, Reason.CONTAINER_CREATING})
"""Why a pool without a warm server is not ready, where it soon is: what else keeps it may last."""


def plan_choice(observed: ObservedJob, policy: Policy) -> Plan:
    """Return the plan of a job whose carrier is not chosen: the choice is written before anything rests on it."""
    choice = choose(observed, policy)
    status = observed.job.status.model_copy(update={"execution": choice})
    return Plan((EmitEvent("Normal", choice.reason, choice.message),), status, timedelta())


def choose(observed: ObservedJob, policy: Policy) -> ExecutionChoice:
    """Return what carries out the attempts of a job, by what its spec and the namespace's pools say now."""
    job = observed.job
    if (need := next(_needs_of_own(job), "")) != "":
        return _own_pod(Reason.NEEDS_OWN_POD, f"{need}, which servers of a pool do not mount.")
    pages, most = _pages(job), ShortSource().pages
    if pages is not None and pages > most:
        return _own_pod(Reason.NOT_SHORT, f"{pages} pages are to be read, and a pool takes up to {most} of a job.")
    if policy.queue is None:
        return _own_pod(Reason.NO_POOL, "This operator has no queue server.")
    named = job.spec.pool_ref
    within = [each for each in observed.pools if named is None or each.pool.metadata.name == named.name]
    fitting = [each for each in within if _serves(job, each.pool)]
    if not fitting:
        return _own_pod(Reason.NO_POOL, _why_none_fits(job, within))
    chosen = min(fitting, key=_order).pool.metadata.name
    message = f'RuntimePool "{chosen}" makes the attempts: of the pools that can, it has the least to do for its size.'
    return ExecutionChoice(mode="Pool", pool=chosen, reason=Reason.POOL_CHOSEN, message=message)


def too_long(why: str) -> ExecutionChoice:
    """Return the choice after a pool's server has handed a job back, for the reason in its words."""
    return _own_pod(Reason.NOT_SHORT, why)


def _own_pod(reason: Reason, why: str) -> ExecutionChoice:
    return ExecutionChoice(mode="Job", reason=reason, message=clip(f"Each attempt has a pod of its own. {why}"))


def _needs_of_own(job: Job) -> Iterator[str]:
    for place, uri in (("source.uri", job.spec.source.uri), ("output.uri", job.spec.output.uri)):
        if (uri or "").startswith("pvc://"):
            yield f"{place} is on a volume"
    if job.spec.source.uri_secret_ref is not None:
        yield "source.uriSecretRef names a Secret"
    diarization = job.spec.diarization if isinstance(job, TranscriptionJob) else None
    if diarization is not None and diarization.token_secret_ref is not None:
        yield "diarization.tokenSecretRef names a Secret"


def _pages(job: Job) -> int | None:
    """Return how many pages a spec names; None: it does not say."""
    if not isinstance(job, OCRJob) or job.spec.pages is None:
        return None
    total = 0
    for part in job.spec.pages.split(","):
        first, dash, last = part.partition("-")
        if dash and not last:
            return None
        total += max(0, int(last or first) - int(first or 1) + 1) if dash else 1
    return total


def _serves(job: Job, pool: RuntimePool) -> bool:
    """Tell whether a pool can make the attempts of a job soon."""
    if pool.metadata.deletion_timestamp is not None or misfit_of(job, pool) is not None:
        return False
    if pool.status.ready_replicas:
        return True
    ready = find(pool.status.conditions, ConditionType.READY)
    if ready is None or pool.spec.replicas == 0:
        return False
    return ready.status is ConditionStatus.TRUE or ready.reason in _ON_ITS_WAY


def _why_none_fits(job: Job, pools: list[PoolLoad]) -> str:
    """Return that no pool can make the attempts, and what is in the way of the first, for those who expected one."""
    named = job.spec.pool_ref
    if named is not None and not pools:
        return f'RuntimePool "{named.name}" is not there.'
    which = "No RuntimePool of the namespace can" if named is None else f'RuntimePool "{named.name}" cannot'
    misfits = (misfit_of(job, each.pool) for each in sorted(pools, key=lambda each: each.pool.metadata.name))
    why = next((misfit.message for misfit in misfits if misfit is not None), "")
    return f"{which} make the attempts now" + (f": {why.rstrip('.')}." if why else ".")


def _order(load: PoolLoad) -> tuple[bool, float, str]:
    """Warm pools first, then those with less to do for each server; the name decides between equals."""
    ready = load.pool.status.ready_replicas
    return ready == 0, load.work / max(1, ready), load.pool.metadata.name
