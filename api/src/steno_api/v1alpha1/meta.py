"""Kubernetes metadata as far as Steno reads it, conditions, and the definition of a custom resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from steno_api import API_VERSION, GROUP, VERSION
from steno_api.model import Model
from steno_api.rules import Rule


class ObjectMeta(Model):
    """The fields of an object's metadata that Steno reads."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    annotations: dict[str, str] = Field(default_factory=dict[str, str])


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """`metav1.Condition`."""

    type: str
    """One of the documented types."""
    status: ConditionStatus
    """`True`, `False` or `Unknown`."""
    reason: str
    """One of the documented reasons, in CamelCase, for programs."""
    message: str = ""
    """Explanation for people."""
    last_transition_time: AwareDatetime
    """When `status` last changed."""
    observed_generation: int = Field(default=0, ge=0)
    """The `metadata.generation` that the condition is based on."""


MAP_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class ConditionedStatus(Model):
    """Fields common to every status: the observed generation, a phase for people, conditions for programs."""

    observed_generation: int = Field(default=0, ge=0)
    """The `metadata.generation` that this status is based on."""
    phase: str | None = None
    """Derived from the conditions, for people; programs read the conditions."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=MAP_BY_TYPE)] = Field(
        default_factory=list[Condition]
    )
    """`Ready`, `Reconciling` and `Stalled` as kstatus defines them, and the kind's own."""


@dataclass(frozen=True)
class PrinterColumn:
    """One column of `kubectl get`; `wide` columns are shown only with `-o wide`."""

    name: str
    json_path: str
    type: Literal["string", "integer", "number", "date", "boolean"] = "string"
    description: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Scale:
    """The scale subresource: JSON paths of what `kubectl scale` and autoscalers read and write."""

    spec: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str = ".status.selector"


@dataclass(frozen=True)
class ResourceDefinition:
    """Contents of a CustomResourceDefinition besides the schema."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    scope: Literal["Namespaced", "Cluster"]
    columns: tuple[PrinterColumn, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Rules on the whole object (name length, …)."""
    status: bool = True
    """Whether there is a status subresource."""
    selectable: tuple[str, ...] = ()
    """JSON paths for `--field-selector`."""
    scale: Scale | None = None
    """The scale subresource, if there is one."""
    group: str = GROUP
    version: str = VERSION
    categories: tuple[str, ...] = field(default=("steno",))

    @property
    def singular(self) -> str:
        """Lower-case kind."""
        return self.kind.lower()

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition object."""
        return f"{self.plural}.{self.group}"


class Resource(Model):
    """A custom resource; subclasses set `definition`, `spec` and, where they have one, `status`."""

    definition: ClassVar[ResourceDefinition]

    api_version: str = API_VERSION
    kind: str
    metadata: ObjectMeta
