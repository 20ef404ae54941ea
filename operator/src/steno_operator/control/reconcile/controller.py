"""Controllers: what the reconciler needs of a kind, the same small interface for all; the manager lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import pydantic

from steno_api.v1alpha1.meta import Resource, ResourceDefinition
from steno_kube.client import ResourceType
from steno_kube.keys import Key
from steno_operator.plan.common.plan import AnyPlan
from steno_operator.plan.common.policy import Policy

R = TypeVar("R", bound=Resource)
Observed = TypeVar("Observed")
P = TypeVar("P", bound=AnyPlan)


class UnreadableError(Exception):
    """A stored resource does not fit the schema this operator knows."""


class RefusedError(Exception):
    """The API server refused a child, or the queue server a message; the text is its own.

    Attributes:
        final: the manifest is invalid, so no retry can help. A full quota passes; a missing
            permission may be granted.
    """

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class Controller(ABC, Generic[R, Observed, P]):
    """A kind of custom resource that is reconciled: its model, what is observed about it, and its plan."""

    def __init__(self, model: type[R]) -> None:
        self.model = model

    @abstractmethod
    def observe(self, key: Key, resource: R) -> Observed:
        """Return all that is observed about `resource`, the parsed resource of `key`."""

    @abstractmethod
    def plan(self, observed: Observed, now: datetime, policy: Policy) -> P:
        """Decide; pure.

        Args:
            observed: what `observe` returned.
            now: the present.
            policy: the operator's settings.
        """

    async def refresh(self, key: Key, uid: str) -> None:
        """Read what belongs to the resource of that UID live into the cache, which has the resource as it is now."""

    def with_refusal(self, observed: Observed, refusal: RefusedError) -> Observed:  # noqa: ARG002
        """Return `observed` with the API server's refusal of what was planned, to be planned once more."""
        return observed

    def accept(self, key: Key, plan: P) -> None:
        """Keep what a plan says beside its actions and status; called before it is carried out."""


AnyController = Controller[Any, Any, Any]


def parse(model: type[R], raw: Mapping[str, Any]) -> R:
    """Parse a resource.

    Raises:
        UnreadableError: it does not fit the model; the message is for the user.
    """
    try:
        return model.from_wire(raw)
    except pydantic.ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)[:5]
        ]
        raise UnreadableError("; ".join(faults)) from None


def resource_type(definition: ResourceDefinition) -> ResourceType:
    """Return what the URLs of a custom resource are made from."""
    return ResourceType(f"{definition.group}/{definition.version}", definition.plural)
