"""Typed views of custom resources: the fields that all kinds share, read leniently from what the apiserver returns.

Fields that this version does not know are ignored, so that an older client keeps working with a newer operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from steno_api.documents.warnings import WarningSummary
from steno_api.model import Model
from steno_api.v1alpha1 import OCRJob, StreamSession, TranscriptionJob
from steno_api.v1alpha1.common import LastFailure, QueueStatus, Results
from steno_api.v1alpha1.job import Progress
from steno_api.v1alpha1.meta import Condition, ConditionStatus, ObjectMeta, Resource, ResourceDefinition
from steno_api.v1alpha1.streamsession import SessionStats
from steno_client.errors import EXIT_UNAVAILABLE, CommandError

RESOURCE_MODELS: dict[str, type[Resource]] = {
    model.definition.kind: model for model in (TranscriptionJob, OCRJob, StreamSession)
}
"""The kinds that the commands work with, by name; manifests are checked with these models before they are sent."""

DEFINITIONS: tuple[ResourceDefinition, ...] = tuple(model.definition for model in RESOURCE_MODELS.values())
STREAM_SESSION = StreamSession.definition


class Endpoint(Model):
    """An address where the client of a session connects."""

    protocol: str = ""
    url: str


class Status(Model):
    """The status fields of all kinds; those that only one kind has are optional."""

    phase: str | None = None
    conditions: list[Condition] = Field(default_factory=list[Condition])
    attempt: int = 0
    progress: Progress | None = None
    queue: QueueStatus | None = None
    results: Results | None = None
    last_failure: LastFailure | None = None
    summary: dict[str, Any] | None = None
    stats: SessionStats | None = None
    warnings: list[WarningSummary] = Field(default_factory=list[WarningSummary])
    endpoints: list[Endpoint] = Field(default_factory=list[Endpoint])
    token_secret_name: str | None = None
    node_name: str | None = None
    pod_name: str | None = None


class SecretReference(Model):
    """A `secretRef`."""

    name: str


class OutputLocation(Model):
    """`spec.output`: where a resource publishes, and how to reach it."""

    uri: str
    secret_ref: SecretReference | None = None
    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None


class _Spec(Model):
    output: OutputLocation | None = None


class _Body(Model):
    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: Status = Status()


@dataclass(frozen=True)
class ResourceView:
    """One state of a resource, as the apiserver returned it."""

    definition: ResourceDefinition
    metadata: ObjectMeta
    output: OutputLocation | None
    status: Status

    @classmethod
    def from_body(cls, definition: ResourceDefinition, body: dict[str, Any]) -> ResourceView:
        """Parse a resource in the form that the apiserver returns.

        Raises:
            CommandError: a newer version of Steno wrote a value that this version does not know.
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
        """Return its name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Return its namespace."""
        return self.metadata.namespace or ""

    @property
    def display_name(self) -> str:
        """Return `kind/name`, the form that commands accept."""
        return f"{self.definition.singular}/{self.name}"

    @property
    def created(self) -> datetime:
        """Return its creation time."""
        return self.metadata.creation_timestamp or datetime.now(UTC)

    @property
    def phase(self) -> str:
        """Return its phase; `Pending` until the operator has written one."""
        return self.status.phase or "Pending"

    @property
    def succeeded(self) -> bool:
        """Whether it has finished successfully."""
        return self.is_true("Complete")

    @property
    def finished(self) -> bool:
        """Whether it has finished, successfully or not."""
        return self.succeeded or self.is_true("Failed")

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of a type, or None."""
        return next((one for one in self.status.conditions if one.type == type_), None)

    def is_true(self, type_: str) -> bool:
        """Whether the condition of a type is True."""
        found = self.condition(type_)
        return found is not None and found.status is ConditionStatus.TRUE
