"""What the reconciler must know of a kind, and the kinds there are. A new job kind is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic

from steno_api.failures import FailureReason
from steno_api.v1alpha1.meta import ResourceDefinition
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cluster import ResourceType
from steno_operator.plan.job import plan_job
from steno_operator.plan.observed import Job, ObservedJob
from steno_operator.plan.plan import Plan
from steno_operator.plan.policy import Policy


class UnreadableError(Exception):
    """A stored resource does not fit the schema this operator knows."""


@dataclass(frozen=True)
class JobKind:
    """A kind whose attempts are child Jobs."""

    model: type[Job]
    plan: Callable[[ObservedJob, datetime, Policy], Plan]

    @property
    def definition(self) -> ResourceDefinition:
        """Names, group and version."""
        return self.model.definition

    @property
    def resource(self) -> ResourceType:
        """How it stands in URLs."""
        return resource_type(self.definition)

    def parse(self, raw: Mapping[str, Any]) -> Job:
        """Reads a resource.

        Raises:
            UnreadableError: it does not fit the model; the message is for the user.
        """
        try:
            return self.model.from_wire(raw)
        except pydantic.ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)[:5]
            ]
            raise UnreadableError("; ".join(faults)) from None


def resource_type(definition: ResourceDefinition) -> ResourceType:
    """Returns how a custom resource stands in URLs."""
    return ResourceType(f"{definition.group}/{definition.version}", definition.plural)


KINDS: dict[str, JobKind] = {model.definition.kind: JobKind(model, plan_job) for model in (TranscriptionJob, OCRJob)}
"""Every kind that is reconciled, by name."""


def unreadable_status(raw: Mapping[str, Any], message: str, now: datetime) -> dict[str, Any]:
    """Returns the status of a resource that cannot be read: stalled until it is edited or a fitting operator runs."""
    status = dict(raw.get("status") or {})
    if status.get("completionTime"):
        return status  # what ended has ended
    generation = raw["metadata"].get("generation", 0)
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"This resource does not fit the schema of the running operator: {message}. Correct it, or create it anew."
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind, value in (
        (ConditionType.READY, "False"),
        (ConditionType.RECONCILING, "False"),
        (ConditionType.STALLED, "True"),
        (ConditionType.ACCEPTED, "False"),
    ):
        before = conditions.get(kind, {})
        conditions[kind] = {
            "type": str(kind),
            "status": value,
            "reason": str(FailureReason.INVALID_SPEC),
            "message": text,
            "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == value else time,
            "observedGeneration": generation,
        }
    return {**status, "conditions": list(conditions.values()), "observedGeneration": generation, "phase": "Pending"}
