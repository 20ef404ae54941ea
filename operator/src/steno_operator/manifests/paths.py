"""Paths in a worker pod, and how the URIs of a spec map to it."""

from __future__ import annotations

from steno_api.v1alpha1.common import Output, Source

SOURCE_MOUNT = "/mnt/source"
OUTPUT_MOUNT = "/mnt/output"
SOURCE_CREDENTIALS = "/etc/steno/source-credentials"
OUTPUT_CREDENTIALS = "/etc/steno/output-credentials"
MODELS = "/models"
SCRATCH = "/scratch"
TOKEN_DIR = "/var/run/secrets/steno"  # noqa: S105 - a path, not a secret
TOKEN_NAME = "token"  # noqa: S105
TERMINATION_LOG = "/dev/termination-log"

_PVC = "pvc://"


def claim_of(ref: Source | Output) -> str | None:
    """Return the PersistentVolumeClaim that `pvc://claim/path` names; None for any other URI."""
    return ref.uri.removeprefix(_PVC).split("/", 1)[0] if ref.uri.startswith(_PVC) else None


def path_in_claim(uri: str) -> str:
    """Return the path of `pvc://claim/path` below the claim's root, without slashes at its ends and without `..`."""
    path = uri.removeprefix(_PVC).partition("/")[2]
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def result_directory(output: Output, *, namespace: str, name: str, uid: str) -> str:
    """Return the URI of the directory one job publishes to: no other job, not even a namesake, ever has the same."""
    return f"{output.uri.rstrip('/')}/{namespace}/{name}/{uid}"
