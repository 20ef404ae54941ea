"""The controller of the job kinds. Separate because each kind that is reconciled has a controller of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.reconcile.attempts import Attempts
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.plan.common.carriers import Mode, carrier_of
from steno_operator.plan.common.plan import Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.plan.job.planner import plan_job

J = TypeVar("J", TranscriptionJob, OCRJob)
AttemptsBy = Mapping[Mode, Attempts[Any, Any]]
"""What carries attempts out, by a job's `spec.execution`."""


class JobController(Controller[J, ObservedJob, Plan]):
    """A kind of job: something else carries its attempts out, by `spec.execution`."""

    def __init__(self, model: type[J], state: ClusterState, attempts: AttemptsBy) -> None:
        super().__init__(model)
        self._state = state
        self._attempts = attempts

    def observe(self, key: Key, resource: J) -> ObservedJob:
        """See `Controller`."""
        return self._attempts[resource.spec.execution].observe(observe_job(self._state, key, resource))

    def plan(self, observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
        """See `Controller`."""
        return plan_job(observed, now, policy)

    def with_refusal(self, observed: ObservedJob, refusal: RefusedError) -> ObservedJob:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Controller`."""
        spec = (self._state.resource(key) or {}).get("spec") or {}
        await self._attempts[carrier_of(spec).mode].refresh(key, uid)
