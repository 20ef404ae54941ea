"""Reports of attempts that came from a pool's queue: whether they are wanted, how far they are, and how they ended.

The answers come from the job's status, never from its spec: what the status does not say yet, the next plan decides.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.report import AttemptAnswer, AttemptReport
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.attempt_reports import Server
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import POOL_KIND, ResourceRecord
from steno_operator.control.reports.callers import NOT_A_SERVER, server_of
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.plan.job.message import is_over, is_recorded

MAX_BODY = 16 * 1024
_KINDS = {"TranscriptionTask": TranscriptionJob.definition.kind, "OCRTask": OCRJob.definition.kind}
_UNWANTED = AttemptAnswer(wanted=False)


def take_attempt_report(
    state: ClusterState, caller: PodIdentity, report: AttemptReport, now: datetime | None = None
) -> tuple[int, dict[str, Any]]:
    """Take in the report of a pool's worker; return the HTTP status and the body of the answer.

    Args:
        state: where reports go, and jobs come from.
        caller: the pod whose token came with the report.
        report: what the worker says.
        now: the present; None: by the clock.
    """
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    server = server_of(state, caller, report.pool)
    if server is None:
        return NOT_A_SERVER
    owner, attempt = OwnerKey(report.job.namespace, report.job.uid), report.attempt
    job = state.owner(owner)
    if job is None or not _is_of_pool(job, report):
        if job is None and owner.namespace == caller.namespace and state.reserving_quota(owner) and report.ended:
            state.attempts.end(owner, attempt, report.process, report.ended, now)  # its Tenant is charged for it
        return 200, _UNWANTED.to_wire()
    status = job.raw.get("status") or {}
    latest: int = status.get("attempt", 0)
    if attempt > latest + 1:
        return 200, _UNWANTED.to_wire()
    over = is_over(job.raw, attempt)
    if report.ended is not None:
        state.attempts.end(owner, attempt, report.process, report.ended, now)
    elif not over:
        pod = server.value.pod
        state.attempts.update(owner, attempt, Server(server.uid, pod.name, pod.node), report.process, now)
        if report.progress is not None:
            state.progress.update(job.key, owner.uid, attempt, report.progress, process=report.process)
    if attempt > latest and not over:
        return 503, {"message": "the attempt's start is not recorded yet"}
    asks = report.progress is None and report.ended is None
    if asks and not over and state.token_keys is None:
        return 503, {"message": "the operator has no keys now"}
    keys = state.token_keys.result_keys(*owner) if asks and not over and state.token_keys is not None else []
    answer = AttemptAnswer(wanted=not over, recorded=is_recorded(status, attempt), keys=[key.hex() for key in keys])
    return 200, answer.to_wire()


def _is_of_pool(job: ResourceRecord, report: AttemptReport) -> bool:
    """Tell whether a job is the one reported of, and one that the pool carries out or did."""
    named = Key(_KINDS[report.kind], report.pool.namespace, report.job.name)
    return job.key == named and job.pool == Key(POOL_KIND, report.pool.namespace, report.pool.name)
