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
from steno_operator.plan.job.observed import ObservedJob, carrier_of_job
from steno_operator.plan.job.planner import plan_job

J = TypeVar("J", TranscriptionJob, OCRJob)
AttemptsBy = Mapping[Mode, Attempts[Any, Any]]
"""Starts, observes and stops attempts, by what carries them out."""


class JobController(Controller[J, ObservedJob, Plan]):
    """A kind of job: what carries its attempts out is behind `Attempts`."""

    def __init__(self, model: type[J], state: ClusterState, attempts: AttemptsBy) -> None:
        super().__init__(model)
        self._state = state
        self._attempts = attempts

    def observe(self, key: Key, resource: J) -> ObservedJob:
        """See `Controller`."""
        observed, carrier = observe_job(self._state, key, resource), carrier_of_job(resource)
        return observed if carrier is None else self._attempts[carrier.mode].observe(observed)

    def plan(self, observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
        """See `Controller`."""
        return plan_job(observed, now, policy)

    def with_refusal(self, observed: ObservedJob, refusal: RefusedError) -> ObservedJob:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Controller`."""
        raw = self._state.resource(key) or {}
        carrier = carrier_of(raw.get("spec") or {}, raw.get("status") or {})
        if carrier is not None:
            await self._attempts[carrier.mode].refresh(key, uid)
