"""OCR of uploads: documents, read in a thread beside the live sessions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from steno_api.documents.pages import EngineName
from steno_api.server.claims import SessionClaims
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.publishing import PRIMARY_FORMAT, write_formats
from steno_runtime.serve.uploads.allowed_sources import AllowedSources
from steno_runtime.serve.uploads.job_queue import Job
from steno_runtime.serve.uploads.service import Languages, Name, RequestFields, UploadService

if TYPE_CHECKING:
    from steno_runtime.worker.recognition import PagesDocument


class DocumentFields(RequestFields):
    """The fields of a document."""

    document_id: Name | None = None
    document_url: Annotated[str, Field(max_length=4096)] | None = None
    languages: Languages = ()
    engine: EngineName = "auto"
    pages: Annotated[str, Field(max_length=200)] | None = None
    mode: Literal["skip", "redo", "force"] = "skip"


class ArtifactFields(DocumentFields):
    """The fields of a document that is wanted as files."""

    formats: Annotated[tuple[Literal["json", "markdown", "pdf", "txt"], ...], Field(max_length=4)] = ()
    max_pages: Annotated[int, Field(ge=0)] = 0
    """A document of more is refused; 0: the pool's own limit."""


class DocumentService:
    """Queues documents."""

    def __init__(self, task: PoolTask, uploads: UploadService, sources: AllowedSources) -> None:
        self._task = task
        self._uploads = uploads
        self._sources = sources

    def submit(self, fields: DocumentFields, claims: SessionClaims, folder: Path, file: Path | None) -> Job:
        """Queue a document. Its result is the document in JSON; with formats, a directory of files as a job has them.

        Args:
            fields: of the request.
            claims: whose job it is.
            folder: reserved for the job.
            file: the document, in `folder`; None: it is fetched from `fields.document_url`.

        Raises:
            ApiError: `SourceNotAllowed`, `QueueFull` or `Draining`.
        """
        if file is None:
            self._sources.check(fields.document_url or "")
        formats, max_pages = (fields.formats, fields.max_pages) if isinstance(fields, ArtifactFields) else ((), 0)
        most = min(self._task.max_document_pages, max_pages or self._task.max_document_pages)

        def read_document(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            from steno_runtime.ocr.page import Limits
            from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
            from steno_runtime.ocr.writers import Header, write_json
            from steno_runtime.triton.client import TritonServer

            started = time.monotonic()
            source = file or self._fetch(fields.document_url or "", folder, on_progress, check)
            options = RecognitionOptions(
                languages=fields.languages,
                engine=fields.engine,
                pages=fields.pages,
                mode=fields.mode,
                model_store=Path(self._task.model_store),
                model_digests=self._task.model_digests,
                workers=max(1, available_cores() // 4),  # live speech comes first
                triton=TritonServer.from_environment(),
                limits=Limits(max_pages=most, remedy="name fewer `pages`, or create an OCRJob"),
            )
            result = recognize(source, options, scratch=folder, on_progress=on_progress, check=check)
            header = Header(
                claims.tenant, fields.document_id or str(uuid.uuid4()), time.monotonic() - started, claims.metadata
            )
            if formats:
                from steno_runtime.worker.recognition import PagesDocument

                return _write_artifacts(PagesDocument(result, header), formats, folder / "artifacts")
            target = folder / "result.json"
            write_json(result, header, target)
            return target

        return self._uploads.queue.submit("ocr", claims, folder, read_document)

    def _fetch(self, url: str, folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
        on_progress(ProgressUpdate(Stage.FETCHING))
        return self._sources.fetch(url, folder, check=check, on_bytes=lambda *_: None)


def _write_artifacts(document: PagesDocument, formats: Sequence[str], target: Path) -> Path:
    """Write a document in formats to a new directory, which is returned; those that cannot be made are left out.

    Args:
        document: what was read.
        formats: that are wanted.
        target: the directory.

    Raises:
        WorkError: the document can have none of the formats, or not the primary one.
    """
    from steno_runtime.ocr.writers import FILE_NAMES

    target.mkdir()
    others = {fmt: target / FILE_NAMES[fmt] for fmt in formats if fmt != PRIMARY_FORMAT}
    written, failures = write_formats(document, others, allow_none=PRIMARY_FORMAT in formats)
    for fmt in others.keys() - written.keys():
        others[fmt].unlink(missing_ok=True)
    if PRIMARY_FORMAT in formats:
        document.with_warnings(failures).write(PRIMARY_FORMAT, target / FILE_NAMES[PRIMARY_FORMAT])
    return target
