"""What the reconciler must know of a kind: a small interface, the same for all; `registry` has the kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

import pydantic

from steno_api.failures import FailureReason
from steno_api.v1alpha1.meta import Resource, ResourceDefinition
from steno_api.v1alpha1.reasons import ConditionType
from steno_operator.control.kube.client import ResourceType
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.plan import AnyPlan
from steno_operator.plan.common.policy import Policy

R = TypeVar("R", bound=Resource)


class UnreadableError(Exception):
    """A stored resource does not fit the schema this operator knows."""


class RefusedError(Exception):
    """The API server will not have a child; the message is its own.

    Attributes:
        final: the manifest is invalid, so no retry can mend it. A full quota passes, and so may a missing permission.
    """

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class Kind(Protocol):
    """A kind of custom resource that is reconciled. `Observed` is the kind's own type, handed from one to the next."""

    @property
    def model(self) -> type[Resource]:
        """The resource's model."""
        ...

    def observe(self, key: Key, resource: Any) -> Any:
        """Returns all that is observed about `resource`, the parsed resource of `key`."""
        ...

    def plan(self, observed: Any, now: datetime, policy: Policy) -> AnyPlan:
        """Decides; pure."""
        ...

    def must_verify(self, observed: Any, plan: AnyPlan) -> bool:
        """Whether the plan may only be made from what was read just now."""
        ...

    async def refresh(self, key: Key, uid: str) -> None:
        """Reads what belongs to the resource of that UID live into the store, which has the resource as it stands."""
        ...

    def refused(self, observed: Any, refusal: RefusedError) -> Any:
        """Returns `observed` with the API server's refusal of what was planned, to be planned once more."""
        ...


def parse(model: type[R], raw: Mapping[str, Any]) -> R:
    """Reads a resource.

    Raises:
        UnreadableError: it does not fit the model; the message is for the user.
    """
    try:
        return model.from_wire(raw)
    except pydantic.ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)[:5]
        ]
        raise UnreadableError("; ".join(faults)) from None


def resource_type(definition: ResourceDefinition) -> ResourceType:
    """Returns how a custom resource stands in URLs."""
    return ResourceType(f"{definition.group}/{definition.version}", definition.plural)


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
