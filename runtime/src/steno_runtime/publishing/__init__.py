"""Publishing: write-once artifacts, then a manifest, so that readers see a whole result or none.

Two processes may publish the same result at once: an attempt on a node that was lost from sight goes on while the next
one has begun, and a session may continue at another server. Whatever the order of their steps, and whichever of them
dies, one consistent result comes of it, because:

- An object is created only if its name is free, and is never overwritten. A digest that was right stays right.
- The manifest is written last. A process that finds one with its own UID returns it.
- What is found is taken for a result only with its proof: who else may write to the output is not believed.

`publish_or_adopt` and `publish_under_free_names` differ in what they do when the name of an artifact is taken.
"""

from __future__ import annotations

from steno_runtime.publishing.immutable_objects import name_conflict
from steno_runtime.publishing.manifest import ManifestHeader, find_manifest
from steno_runtime.publishing.policies import (
    PRIMARY_FORMAT,
    Document,
    Format,
    artifact_failed,
    publish_or_adopt,
    publish_under_free_names,
    write_formats,
)
from steno_runtime.publishing.proofs import UNPROVEN, Proofs

__all__ = [
    "PRIMARY_FORMAT",
    "UNPROVEN",
    "Document",
    "Format",
    "ManifestHeader",
    "Proofs",
    "artifact_failed",
    "find_manifest",
    "name_conflict",
    "publish_or_adopt",
    "publish_under_free_names",
    "write_formats",
]
