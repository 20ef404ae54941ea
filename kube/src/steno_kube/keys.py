"""Names and versions of objects: the key of a custom resource, controller references, the order of versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One custom resource; two incarnations of a name share a key."""

    kind: str
    namespace: str
    """Empty for a cluster-scoped resource."""
    name: str

    @classmethod
    def of(cls, kind: str, raw: Mapping[str, Any]) -> Key:
        """Return the key of a resource read from the API server."""
        return cls(kind, raw["metadata"].get("namespace", ""), raw["metadata"]["name"])

    def log(self) -> dict[str, Any]:
        """Return the `extra` of a log record about this resource."""
        return {"resource": {"kind": self.kind, "namespace": self.namespace, "name": self.name}}


def is_newer(version: str, than: str) -> bool:
    """Tell whether a `resourceVersion` is newer than another of the same kind.

    Kubernetes promises their order since 1.35; before, they were etcd's revisions, which are numbers as well.
    """
    try:
        return int(version) > int(than)
    except ValueError:
        return version != than


_MAX_NAME = 253


def controller_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the owner reference to an object's controller, else an empty mapping.

    A reference that no object can be meant by counts as none: the API server takes names of any length in it.
    """
    owners = raw["metadata"].get("ownerReferences") or ()
    found = next((each for each in owners if each.get("controller")), {})
    is_possible = all(len(found.get(field, "")) <= _MAX_NAME for field in ("kind", "name", "uid"))
    return found if is_possible else {}


def controller_uid(raw: Mapping[str, Any]) -> str:
    """Return the UID of an object's controller, or an empty string."""
    return controller_of(raw).get("uid", "")
