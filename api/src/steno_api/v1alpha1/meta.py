"""The parts of Kubernetes' own metadata that we read, the condition type, and what makes a model a resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from steno_api import GROUP, VERSION
from steno_api.model import Model


class ObjectMeta(Model):
    """What we read of an object's metadata."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """`metav1.Condition`."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    last_transition_time: datetime
    observed_generation: int = 0


@dataclass(frozen=True)
class PrinterColumn:
    """One column of `kubectl get`; `wide` columns show with `-o wide` only."""

    name: str
    json_path: str
    type: Literal["string", "integer", "number", "date", "boolean"] = "string"
    description: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Rule:
    """A CEL validation rule on a field or object (`x-kubernetes-validations`)."""

    rule: str
    message: str
    field_path: str | None = None


@dataclass(frozen=True)
class ResourceDefinition:
    """What a CustomResourceDefinition says besides the schema."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    scope: Literal["Namespaced", "Cluster"]
    columns: tuple[PrinterColumn, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Rules on the whole object (name length, …)."""
    status: bool = True
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

    api_version: str = Field(f"{GROUP}/{VERSION}")
    kind: str
    metadata: ObjectMeta
