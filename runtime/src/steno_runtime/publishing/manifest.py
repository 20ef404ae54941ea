"""The manifest: found before any work is done, written after everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from steno_api.documents.manifest import MANIFEST_NAME, AnySummary, Manifest, PublishedArtifact
from steno_api.documents.warnings import ResultWarning, summarise_warnings
from steno_api.model import ObjectRef
from steno_runtime.publishing.immutable_objects import create_or_read, name_conflict
from steno_runtime.storage import OutputDirectory


@dataclass(frozen=True)
class ManifestHeader:
    """Fields of a manifest that are known before anything is published.

    Attributes:
        job: the resource whose result it is.
        attempt: of the resource, from 1.
        tenant: whom the work is accounted to.
        source_uri: what was worked on, without credentials.
        metadata: free text of whoever asked for it.
    """

    job: ObjectRef
    attempt: int
    tenant: str
    source_uri: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


def find_manifest(output: OutputDirectory, uid: str) -> Manifest | None:
    """Return the manifest that was published for the resource with this UID, if one was.

    Raises:
        WorkError: `OutputForbidden`: the manifest's name is taken by something else; or what `output` raises.
    """
    data = output.read(MANIFEST_NAME)
    return None if data is None else _parse(data, output, uid)


def write_manifest(
    output: OutputDirectory,
    header: ManifestHeader,
    artifacts: Sequence[PublishedArtifact],
    summary: AnySummary,
    warnings: Sequence[ResultWarning] = (),
) -> Manifest:
    """Write the manifest, after all artifacts, and clean up after interrupted writers.

    Args:
        output: where the artifacts are.
        header: whose they are.
        artifacts: all of them.
        summary: figures of the result.
        warnings: what was lost, doubted or guessed.

    Returns:
        The manifest that is valid: this one, or that of a process that was faster.

    Raises:
        WorkError: see `find_manifest`.
    """
    manifest = Manifest(
        job=header.job,
        attempt=header.attempt,
        tenant=header.tenant,
        created_at=datetime.now(UTC),
        source_uri=header.source_uri,
        metadata=dict(header.metadata),
        artifacts=list(artifacts),
        summary=summary,
        warnings=summarise_warnings(warnings),
    )
    data = create_or_read(output, MANIFEST_NAME, manifest.to_json().encode(), "application/json")
    output.cleanup()
    return _parse(data, output, header.job.uid)


def _parse(data: bytes, output: OutputDirectory, uid: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise name_conflict(output, MANIFEST_NAME) from error
    if manifest.job.uid != uid:
        raise name_conflict(output, MANIFEST_NAME)
    return manifest
