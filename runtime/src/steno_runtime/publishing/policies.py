"""Two policies for an artifact whose name is taken: adopt the existing one, or take the next free name.

A worker's attempts all make the same document, so a later one adopts what an earlier one wrote. Servers of a session
may each have a different part of it, so none may replace another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from steno_api.documents.manifest import AnySummary, Manifest, PublishedArtifact
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.errors import Stopped, WorkError, explain, is_out_of_memory
from steno_runtime.publishing.immutable_objects import create_or_read, describe_artifact, name_conflict
from steno_runtime.publishing.manifest import ManifestHeader, find_manifest, write_manifest
from steno_runtime.publishing.proofs import UNPROVEN, Proofs
from steno_runtime.storage import OutputDirectory

log = logging.getLogger(__name__)

PRIMARY_FORMAT = "json"
"""The format that holds everything: any other one can be made from it, also by another process."""

MAX_PARTS = 20
"""Names tried for one session."""


@dataclass(frozen=True)
class Format:
    """How a format is published: its file name and media type."""

    name: str
    content_type: str


class Document(Protocol):
    """A result, of this process or an earlier one, that can be written in every format."""

    def write(self, fmt: str, target: Path) -> None:
        """Write the document to a file in a format.

        Raises:
            WorkError: the document cannot have that format.
        """
        ...

    def summary(self) -> AnySummary:
        """Return its figures."""
        ...

    def warnings(self) -> Sequence[ResultWarning]:
        """Return what was lost, doubted or guessed."""
        ...

    def with_warnings(self, warnings: Sequence[ResultWarning]) -> Self:
        """Return the document with more warnings."""
        ...


def publish_or_adopt(
    output: OutputDirectory,
    header: ManifestHeader,
    document: Document,
    files: Mapping[str, Path],
    *,
    formats: Mapping[str, Format],
    load_existing: Callable[[bytes], Document],
    proofs: Proofs = UNPROVEN,
) -> Manifest:
    """Publish a document's files, adopting those that exist already; one file at a time is in memory.

    The primary format is published first, and the other formats are made from the one that exists then: so all formats
    of a result agree, though two runs of a model on two machines seldom do to the letter. Without the primary format,
    the others may stem from two attempts; their digests are right all the same.

    Args:
        output: where to.
        header: whose the document is.
        document: what `files` were written from.
        files: the document by format, the primary one first; rewritten if another primary one is adopted.
        formats: how each format is published.
        load_existing: reads the primary format of another attempt; raises `WorkError` if it is not of this resource.
        proofs: of the results; what exists without is not adopted.

    Returns:
        The manifest that is valid.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    artifacts: list[PublishedArtifact] = []
    lost = [warning for warning in document.warnings() if warning.reason is WarningReason.ARTIFACT_FAILED]
    pending = dict(files)
    while pending:
        fmt = next(iter(pending))
        name, written = formats[fmt].name, pending.pop(fmt).read_bytes()
        data = create_or_read(output, name, written, formats[fmt].content_type, proofs=proofs)
        if data != written and fmt == PRIMARY_FORMAT:
            document = load_existing(data)
            pending, failures = write_formats(document, pending, allow_none=True)
            lost += failures
        artifacts.append(describe_artifact(fmt, name, data))
    warnings = [*document.warnings(), *(warning for warning in lost if warning not in document.warnings())]
    return write_manifest(output, header, artifacts, document.summary(), warnings, proofs=proofs)


def write_formats(
    document: Document,
    targets: Mapping[str, Path],
    *,
    allow_none: bool = False,
    on_written: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Path], list[ResultWarning]]:
    """Write a document in several formats; one that cannot be made does not cost the others.

    Args:
        document: what to write.
        targets: the file of each format.
        allow_none: whether it is enough if none can be made.
        on_written: called after each of them; may raise to stop.

    Returns:
        The files that were written, and a warning for each of the other formats.

    Raises:
        WorkError: none could be written: the reason of the first.
    """
    written: dict[str, Path] = {}
    failures: list[tuple[str, WorkError]] = []
    for fmt, target in targets.items():
        try:
            document.write(fmt, target)
        except (Stopped, OSError, MemoryError):  # of the machine, not of the format: the next attempt may do better
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("a format could not be made", extra={"format": fmt}, exc_info=not isinstance(error, WorkError))
            failures.append((fmt, explain(error, f"Writing {fmt}", remedy="")))
        else:
            written[fmt] = target
        on_written()
    if failures and not written and not allow_none:
        raise failures[0][1]
    return written, [artifact_failed(fmt, error) for fmt, error in failures]


def artifact_failed(fmt: str, error: WorkError) -> ResultWarning:
    """Return the warning for a format that could not be made."""
    return ResultWarning(reason=WarningReason.ARTIFACT_FAILED, message=f"No {fmt} was made. {error.message}")


def publish_under_free_names(
    output: OutputDirectory,
    header: ManifestHeader,
    contents: Mapping[str, bytes],
    *,
    formats: Mapping[str, Format],
    summary: AnySummary,
    warnings: Sequence[ResultWarning] = (),
    proofs: Proofs = UNPROVEN,
) -> Manifest:
    """Publish a session's transcript under names that are free; existing objects stay as they are.

    A session may have gone on at another server after its first one died, or was cut off, while publishing. What the
    first one left is another part of the session, hence not adopted: this part is named `transcript-2` and so on.

    Args:
        output: where to.
        header: whose the transcript is.
        contents: the transcript by format.
        formats: how each format is published, as long as no name is taken.
        summary: figures of the transcript.
        warnings: what was lost, doubted or guessed.
        proofs: of the results.

    Returns:
        The manifest that is valid.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    existing = find_manifest(output, header.job.uid, proofs)
    if existing is not None:
        return existing
    artifacts = _write_under_free_names(output, contents, formats)
    return write_manifest(output, header, artifacts, summary, warnings, proofs=proofs)


def _write_under_free_names(
    output: OutputDirectory, contents: Mapping[str, bytes], formats: Mapping[str, Format]
) -> list[PublishedArtifact]:
    ordered = sorted(contents, key=lambda fmt: (fmt != PRIMARY_FORMAT, fmt))
    for number in range(1, MAX_PARTS + 1):
        names = {fmt: formats[fmt].name if number == 1 else f"transcript-{number}.{fmt}" for fmt in ordered}
        if all(
            create_or_read(output, names[fmt], contents[fmt], formats[fmt].content_type) == contents[fmt]
            for fmt in ordered
        ):
            return [describe_artifact(fmt, names[fmt], contents[fmt]) for fmt in ordered]
    raise name_conflict(output, formats[ordered[0]].name)
