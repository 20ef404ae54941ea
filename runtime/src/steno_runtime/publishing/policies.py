"""Two policies for an artifact whose name is taken: adopt the existing one, or take the next free name.

A worker's attempts all make the same document, so a later one adopts what an earlier one wrote. Servers of a session
may each have a different part of it, so none may replace another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steno_api.documents.manifest import AnySummary, Manifest, PublishedArtifact
from steno_api.documents.warnings import ResultWarning
from steno_runtime.publishing.immutable_objects import create_or_read, describe_artifact, name_conflict
from steno_runtime.publishing.manifest import ManifestHeader, find_manifest, write_manifest
from steno_runtime.storage import OutputDirectory

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


def publish_or_adopt(
    output: OutputDirectory,
    header: ManifestHeader,
    document: Document,
    files: Mapping[str, Path],
    *,
    formats: Mapping[str, Format],
    load_existing: Callable[[bytes], Document],
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

    Returns:
        The manifest that is valid.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    artifacts: list[PublishedArtifact] = []
    for fmt, file in files.items():
        name, written = formats[fmt].name, file.read_bytes()
        data = create_or_read(output, name, written, formats[fmt].content_type)
        if data != written and fmt == PRIMARY_FORMAT:
            document = load_existing(data)
            for other in files.keys() - {PRIMARY_FORMAT}:
                document.write(other, files[other])
        artifacts.append(describe_artifact(fmt, name, data))
    return write_manifest(output, header, artifacts, document.summary(), document.warnings())


def publish_under_free_names(
    output: OutputDirectory,
    header: ManifestHeader,
    contents: Mapping[str, bytes],
    *,
    formats: Mapping[str, Format],
    summary: AnySummary,
    warnings: Sequence[ResultWarning] = (),
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

    Returns:
        The manifest that is valid.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound` or `OutputUnavailable`.
    """
    existing = find_manifest(output, header.job.uid)
    if existing is not None:
        return existing
    return write_manifest(output, header, _write_under_free_names(output, contents, formats), summary, warnings)


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
