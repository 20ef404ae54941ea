"""Objects that are written once and never overwritten: what stands under a name, stays."""

from __future__ import annotations

import hashlib
import logging

from pydantic import ValidationError

from steno_api.documents.manifest import MANIFEST_NAME, Manifest, PublishedArtifact
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.storage.output import Output

log = logging.getLogger(__name__)

_JSON = "application/json"


def write_once(output: Output, name: str, data: bytes, content_type: str) -> bytes:
    """Returns the bytes that stand under `name` from now on: `data`, or what was there before.

    Raises:
        WorkError: what `output` raises, and `OutputForbidden` where something stands that cannot be read.
    """
    # Looking first is for stores that know no conditional writes, where `create` would overwrite.
    standing = output.read(name)
    if standing is None:
        if output.create(name, data, content_type):
            return data
        standing = output.read(name)
    if standing is None:
        raise WorkError(
            FailureReason.OUTPUT_FORBIDDEN,
            f"{output.uri}/{name} exists but cannot be read back. "
            "Allow the output's credentials to read (s3:GetObject).",
        )
    if standing != data:
        log.info("something else was published before", extra={"artifact": name})
    return standing


def artifact(fmt: str, name: str, data: bytes) -> PublishedArtifact:
    """Returns the manifest's entry of an object."""
    return PublishedArtifact(format=fmt, name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def find_manifest(output: Output, uid: str) -> Manifest | None:
    """Returns the manifest that was published for the resource `uid`, if one was.

    Raises:
        WorkError: `OutputForbidden`: something else has the manifest's name; or what `output` raises.
    """
    data = output.read(MANIFEST_NAME)
    return None if data is None else _own(data, output, uid)


def seal(output: Output, manifest: Manifest) -> Manifest:
    """Writes the manifest, last of all; returns the one that stands.

    Raises:
        WorkError: see `find_manifest`.
    """
    data = write_once(output, MANIFEST_NAME, manifest.to_json().encode(), _JSON)
    output.tidy()
    return _own(data, output, manifest.job.uid)


def in_the_way(output: Output, name: str) -> WorkError:
    """Returns the error for an object that has our name and is not ours."""
    return WorkError(
        FailureReason.OUTPUT_FORBIDDEN,
        f"{output.uri}/{name} exists already and is not a result of this job; it is not overwritten. "
        "Remove it, or choose another output.uri.",
    )


def _own(data: bytes, output: Output, uid: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise in_the_way(output, MANIFEST_NAME) from error
    if manifest.job.uid != uid:
        raise in_the_way(output, MANIFEST_NAME)
    return manifest
