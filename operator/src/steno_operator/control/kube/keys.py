"""What the work queue holds: the name of one custom resource."""

from __future__ import annotations

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
    def of(cls, kind: str, raw: dict[str, Any]) -> Key:
        """Returns the key of a resource read from the API server."""
        return cls(kind, raw["metadata"].get("namespace", ""), raw["metadata"]["name"])

    def log(self) -> dict[str, Any]:
        """Returns the `extra` of a log record about this resource."""
        return {"resource": {"kind": self.kind, "namespace": self.namespace, "name": self.name}}


def is_newer(version: str, than: str) -> bool:
    """Whether a `resourceVersion` is newer than another of the same kind.

    Kubernetes promises their order since 1.35; before, they were etcd's revisions, which are numbers as well.
    """
    try:
        return int(version) > int(than)
    except ValueError:
        return version != than
