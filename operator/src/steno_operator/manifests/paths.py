"""Paths in a worker pod, and how the URIs of a spec map to it."""

from __future__ import annotations

from steno_api.documents.manifest import MANIFEST_NAME
from steno_api.v1alpha1.common import Output, Source
from steno_api.v1alpha1.meta import ObjectMeta

SOURCE_MOUNT = "/mnt/source"
OUTPUT_MOUNT = "/mnt/output"
SOURCE_CREDENTIALS = "/etc/steno/source-credentials"
SOURCE_URI = "/etc/steno/source-uri"
OUTPUT_CREDENTIALS = "/etc/steno/output-credentials"
QUEUE_SERVER = "/etc/steno/queue"
QUEUE_CREDENTIALS = "/etc/steno/queue-credentials"
"""Of a pool's servers: has a directory for each Secret that jobs may name."""
TLS = "/etc/steno/tls"
MODELS = "/models"
SCRATCH = "/scratch"
TOKEN_DIR = "/var/run/secrets/steno"  # noqa: S105 - a path, not a secret
TOKEN_NAME = "token"  # noqa: S105
TERMINATION_LOG = "/dev/termination-log"

_PVC = "pvc://"


def claim_of(ref: Source | Output) -> str | None:
    """Return the PersistentVolumeClaim that `pvc://claim/path` names; None for any other URI."""
    uri = ref.uri or ""
    return uri.removeprefix(_PVC).split("/", 1)[0] if uri.startswith(_PVC) else None


def path_in_claim(uri: str) -> str:
    """Return the path of `pvc://claim/path` below the claim's root, without slashes at its ends and without `..`."""
    path = uri.removeprefix(_PVC).partition("/")[2]
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


REMEDY = "Check the profile's image, and who may write to its pods (pods/exec)."
"""What to do about a pod that says what no worker or server says."""


def result_directory(output: Output, *, namespace: str, name: str, uid: str) -> str:
    """Return the URI of the directory one job publishes to: no other job, not even a namesake, ever has the same."""
    return _directory(output.uri, namespace, name, uid)


def _directory(output_uri: str, namespace: str, name: str, uid: str) -> str:
    return f"{output_uri.rstrip('/')}/{namespace}/{name}/{uid}"


def misplaced(manifest: str, output_uri: str, metadata: ObjectMeta) -> str:
    """Return what is wrong with a manifest that is not in the result directory of a resource; empty: nothing.

    Args:
        manifest: the URI that a worker or server reported.
        output_uri: `spec.output.uri`.
        metadata: of the job or session.
    """
    directory = _directory(output_uri, metadata.namespace or "default", metadata.name, metadata.uid)
    if manifest == f"{directory}/{MANIFEST_NAME}":
        return ""
    return f"The pod reported a manifest that is not in {directory}/, which is not accepted. {REMEDY}"
