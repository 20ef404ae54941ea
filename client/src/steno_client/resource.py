"""A resource of any kind, as far as people who wait for it care."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from steno_api.model import Model
from steno_api.v1alpha1.common import LastFailure, QueueStatus, Results
from steno_api.v1alpha1.job import Progress
from steno_api.v1alpha1.meta import Condition, ConditionStatus, ObjectMeta, ResourceDefinition
from steno_api.v1alpha1.streamsession import SessionFigures
from steno_client.errors import EXIT_UNAVAILABLE, CommandError


class Endpoint(Model):
    """Where a session's client connects."""

    protocol: str = ""
    url: str


class Status(Model):
    """What the statuses of all kinds have in common, and what only one has as an optional."""

    phase: str | None = None
    conditions: list[Condition] = Field(default_factory=list[Condition])
    attempt: int = 0
    progress: Progress | None = None
    queue: QueueStatus | None = None
    results: Results | None = None
    last_failure: LastFailure | None = None
    summary: dict[str, Any] | None = None
    figures: SessionFigures | None = None
    endpoints: list[Endpoint] = Field(default_factory=list[Endpoint])
    token_secret_name: str | None = None
    node_name: str | None = None
    pod_name: str | None = None


class SecretName(Model):
    """A `secretRef`."""

    name: str


class OutputPlace(Model):
    """How a resource's output is reached."""

    uri: str
    secret_ref: SecretName | None = None
    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None


class _Spec(Model):
    output: OutputPlace | None = None


class _Body(Model):
    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: Status = Status()


@dataclass(frozen=True)
class Followed:
    """A resource as it was seen last."""

    definition: ResourceDefinition
    metadata: ObjectMeta
    output: OutputPlace | None
    status: Status

    @classmethod
    def read(cls, definition: ResourceDefinition, body: dict[str, Any]) -> Followed:
        """Reads what the cluster gave.

        Raises:
            CommandError: a newer Steno wrote something that is not known here.
        """
        try:
            read = _Body.from_wire(body)
        except ValidationError as error:
            raise CommandError(
                f"{definition.singular}/{(body.get('metadata') or {}).get('name', '?')} has a status that this version "
                "does not understand: update steno-client",
                EXIT_UNAVAILABLE,
            ) from error
        return cls(definition, read.metadata, read.spec.output, read.status)

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.metadata.namespace or ""

    @property
    def shown(self) -> str:
        """`kind/name`, as commands take it."""
        return f"{self.definition.singular}/{self.name}"

    @property
    def created(self) -> datetime:
        """When it was created."""
        return self.metadata.creation_timestamp or datetime.now(UTC)

    @property
    def phase(self) -> str:
        """Its phase; `Pending` before the operator saw it."""
        return self.status.phase or "Pending"

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.is_true("Complete")

    @property
    def ended(self) -> bool:
        """Whether it ended, either way."""
        return self.succeeded or self.is_true("Failed")

    def condition(self, type_: str) -> Condition | None:
        """Returns the condition of a type, if there is one."""
        return next((one for one in self.status.conditions if one.type == type_), None)

    def is_true(self, type_: str) -> bool:
        """Whether a condition holds."""
        found = self.condition(type_)
        return found is not None and found.status is ConditionStatus.TRUE
