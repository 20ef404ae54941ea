"""A Tenant that is planned again and again, and the requests that it is planned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Admission, AdmissionRequest, Demand, Usage
from steno_operator.plan.common.plan import WriteQuota
from steno_operator.plan.tenant.planner import ObservedTenant, TenantPlan, plan_tenant

from .builders import T0, after


def tenant(**limits: int) -> Tenant:
    return Tenant.from_wire(
        {
            "metadata": {"name": "acme", "uid": "tenant-1", "generation": 3},
            "spec": {"namespaces": ["team-a", "team-b"], "limits": limits},
        }
    )


def make_request(uid: str, *, gpus: int = 1, kind: str = "TranscriptionJob", **fields: Any) -> AdmissionRequest:
    """A request; the later its UID in the alphabet, the younger."""
    return AdmissionRequest(
        **{
            "uid": uid,
            "kind": kind,
            "namespace": "team-a",
            "name": f"job-{uid}",
            "created": after(ord(uid[0])),
            "policy": ADMISSION_POLICIES[kind],
            "demand": Demand(gpus=gpus, jobs=1),
            **fields,
        }
    )


def make_ended_pod(of: AdmissionRequest, **usage: Any) -> AdmissionRequest:
    return replace(of, finished=True, active=False, running=False, usage=Usage(**usage))


class TenantHarness:
    """A Tenant that is reconciled again and again; quota and status are kept as the API server would keep them."""

    def __init__(self, **limits: int) -> None:
        self.tenant = tenant(**limits)
        self.quota = TenantQuota.from_wire({"metadata": {"name": "acme", "uid": "quota-1"}})
        self.pending: Mapping[str, Admission] = {}

    def reconcile(self, *requests: AdmissionRequest, at: datetime = T0, **observed: Any) -> TenantPlan:
        plan = plan_tenant(ObservedTenant(self.tenant, self.quota, requests, **observed), at)
        for write in plan.actions:
            assert isinstance(write, WriteQuota)
            assert write.quota == self.quota
            assert write.status != self.quota.status
            quota = type(write.status).model_validate_json(write.status.to_json())
            assert quota == write.status, "the quota must survive JSON"
            self.quota = self.quota.model_copy(update={"status": quota})
        self.pending = self.pending if plan.pending is None else plan.pending
        status = type(plan.status).model_validate_json(plan.status.to_json())
        assert status == plan.status, "the status must survive JSON"
        self.tenant = self.tenant.model_copy(update={"status": status})
        return plan

    @property
    def reserved(self) -> str:
        return "".join(sorted(reservation.uid for reservation in self.quota.status.reservations))

    def reason(self, uid: str) -> tuple[str, int | None]:
        return self.pending[uid].reason, self.pending[uid].position
