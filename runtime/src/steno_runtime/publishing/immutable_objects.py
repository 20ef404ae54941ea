"""Immutable objects: create-if-absent writes whose loser reads back the winner's bytes.

Apart from the manifest and the policies, which are both written in terms of it.
"""

from __future__ import annotations

import hashlib
import logging

from steno_api.documents.manifest import PublishedArtifact
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.publishing.proofs import Proofs
from steno_runtime.storage import OutputDirectory

log = logging.getLogger(__name__)


def create_or_read(
    output: OutputDirectory, name: str, data: bytes, content_type: str, *, proofs: Proofs | None = None
) -> bytes:
    """Create an object unless it exists.

    Args:
        output: the directory of the object.
        name: of the object.
        data: its content, if it does not exist.
        content_type: its media type, if it does not exist.
        proofs: of an artifact that another worker may have written; None: what was there is up to the caller.

    Returns:
        The object's content from now on: `data`, or what was there before.

    Raises:
        WorkError: what `output` raises, and `OutputForbidden` if the object exists but cannot be read, or no worker of
            the same resource wrote it.
    """
    # It is read first for the sake of stores without conditional writes, where `create` would overwrite.
    existing = output.read(name)
    if existing is None:
        if proofs is not None:
            proofs.write(output, name, data)
        if output.create(name, data, content_type):
            return data
        existing = output.read(name)
    if existing is None:
        raise WorkError(
            FailureReason.OUTPUT_FORBIDDEN,
            f"{output.uri}/{name} exists but cannot be read back. "
            "Allow the output's credentials to read (s3:GetObject).",
        )
    if existing != data:
        log.info("the object exists with other content, which is kept", extra={"artifact": name})
        if proofs is not None and not proofs.hold(output, name, existing):
            raise name_conflict(output, name)
    return existing


def describe_artifact(fmt: str, name: str, data: bytes) -> PublishedArtifact:
    """Return the manifest's entry for an object.

    Args:
        fmt: the artifact's format, such as `srt`.
        name: of the object.
        data: its content.
    """
    return PublishedArtifact(format=fmt, name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def name_conflict(output: OutputDirectory, name: str) -> WorkError:
    """Return the error for an object that has the name of a result but belongs to something else."""
    return WorkError(
        FailureReason.OUTPUT_FORBIDDEN,
        f"{output.uri}/{name} exists already and is not known to be a result of this job; it is not overwritten. "
        "Remove it, or choose another output.uri.",
    )
