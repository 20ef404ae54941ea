"""The manifest: found before any work is done, written after everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from steno_api.documents.manifest import MANIFEST_NAME, AnySummary, Manifest, PublishedArtifact
from steno_api.documents.warnings import ResultWarning, summarise_warnings
from steno_api.model import ObjectRef
from steno_runtime.publishing.immutable_objects import create_or_read, name_conflict
from steno_runtime.publishing.proofs import UNPROVEN, Proofs
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


def find_manifest(output: OutputDirectory, uid: str, proofs: Proofs = UNPROVEN) -> Manifest | None:
    """Return the manifest that was published for the resource with this UID, if one was.

    Args:
        output: where it would be.
        uid: of the resource.
        proofs: of its results.

    Raises:
        WorkError: `OutputForbidden`: the manifest's name is taken by something else, or no worker of the resource wrote
            it; or what `output` raises; or it cannot be checked now.
    """
    data = output.read(MANIFEST_NAME)
    return None if data is None else _parse(data, output, uid, proofs)


def write_manifest(
    output: OutputDirectory,
    header: ManifestHeader,
    artifacts: Sequence[PublishedArtifact],
    summary: AnySummary,
    warnings: Sequence[ResultWarning] = (),
    *,
    proofs: Proofs = UNPROVEN,
) -> Manifest:
    """Write the manifest, after all artifacts, and clean up after interrupted writers.

    Args:
        output: where the artifacts are.
        header: whose they are.
        artifacts: all of them.
        summary: figures of the result.
        warnings: what was lost, doubted or guessed.
        proofs: of the results.

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
    written = proofs.sign(manifest).to_json().encode()
    data = create_or_read(output, MANIFEST_NAME, written, "application/json")
    output.cleanup()
    return _parse(data, output, header.job.uid, UNPROVEN if data == written else proofs)


def _parse(data: bytes, output: OutputDirectory, uid: str, proofs: Proofs) -> Manifest:
    try:
        manifest = proofs.read(data)
    except ValueError as error:  # pydantic's are ValueErrors, too
        raise name_conflict(output, MANIFEST_NAME) from error
    if manifest.job.uid != uid:
        raise name_conflict(output, MANIFEST_NAME)
    return manifest
