"""OCR of uploads: documents, read in a thread beside the live sessions."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from steno_api.documents.pages import EngineName
from steno_api.server.claims import SessionClaims
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.serve.uploads.allowed_sources import AllowedSources
from steno_runtime.serve.uploads.job_queue import Job
from steno_runtime.serve.uploads.service import Languages, Name, RequestFields, UploadService


class DocumentFields(RequestFields):
    """The fields of a document."""

    document_id: Name | None = None
    document_url: Annotated[str, Field(max_length=4096)] | None = None
    languages: Languages = ()
    engine: EngineName = "auto"
    pages: Annotated[str, Field(max_length=200)] | None = None
    mode: Literal["skip", "redo", "force"] = "skip"


class DocumentService:
    """Queues documents."""

    def __init__(self, task: PoolTask, uploads: UploadService, sources: AllowedSources) -> None:
        self._task = task
        self._uploads = uploads
        self._sources = sources

    def submit(self, fields: DocumentFields, claims: SessionClaims, folder: Path, file: Path | None) -> Job:
        """Queue a document.

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
                limits=Limits(
                    max_pages=self._task.max_document_pages, remedy="name fewer `pages`, or create an OCRJob"
                ),
            )
            result = recognize(source, options, scratch=folder, on_progress=on_progress, check=check)
            header = Header(
                claims.tenant, fields.document_id or str(uuid.uuid4()), time.monotonic() - started, claims.metadata
            )
            target = folder / "result.json"
            write_json(result, header, target)
            return target

        return self._uploads.queue.submit("ocr", claims, folder, read_document)

    def _fetch(self, url: str, folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
        on_progress(ProgressUpdate(Stage.FETCHING))
        return self._sources.fetch(url, folder, check=check, on_bytes=lambda *_: None)
