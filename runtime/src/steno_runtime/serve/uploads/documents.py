"""`POST /ocr/process`: documents, read in a thread beside the sessions."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Stage
from steno_api.v1alpha1.ocrjob import OCREngine, OCRMode
from steno_runtime.errors import Check
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.serve.uploads.allowed_sources import Sources
from steno_runtime.serve.uploads.body import read_form, read_json
from steno_runtime.serve.uploads.job_queue import Job, Work
from steno_runtime.serve.uploads.service import Desk, Name, Wish, read


class Document(Wish):
    """The fields of a request."""

    document_id: Name | None = None
    document_url: Annotated[str, Field(max_length=4096)] | None = None
    languages: tuple[Annotated[str, Field(max_length=35)], ...] = Field(default=(), max_length=16)
    engine: OCREngine = "auto"
    pages: Annotated[str, Field(max_length=200)] | None = None
    mode: OCRMode = "skip"

    @field_validator("languages", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """A form has `ko,en` where JSON has a list."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class DocumentRest:
    """The endpoint, and the work that gRPC asks for as well."""

    def __init__(self, task: PoolTask, desk: Desk, sources: Sources) -> None:
        self._task = task
        self._desk = desk
        self._sources = sources

    async def process(self, request: Request) -> Response:
        """`POST /ocr/process`: a form with a file, or JSON with `document_url`."""
        claims = self._desk.admit(request)
        async with self._desk.jobs.folder() as folder:
            if request.headers.get("content-type", "").lower().startswith("application/json"):
                wish, file = read(Document, await read_json(request)), None
                if wish.document_url is None:
                    raise Refusal(Code.INVALID_REQUEST, "document_url is missing; or send the file as a form.")
            else:
                form = await read_form(request, folder)
                wish, file = read(Document, dict(form.fields)), form.file
            claims = self._desk.access.check(claims, tenant=wish.tenant_id)
            job = self.submit(wish, claims.tenant, folder, file)
        return await self._desk.answer(request, job)

    def submit(self, wish: Document, tenant: str, folder: Path, file: Path | None) -> Job:
        """Queues a document that lies in `folder`, or at the URL it names.

        Raises:
            Refusal: `SourceNotAllowed`, `QueueFull` or `Draining`.
        """
        url = wish.document_url
        if file is None and url is not None:
            self._sources.check(url)
        sources = self._sources

        def source(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            if file is not None:
                return file
            on_progress(ProgressUpdate(Stage.FETCHING))
            return sources.fetch(url or "", folder, check=check, on_bytes=lambda *_: None)

        return self._desk.jobs.submit("ocr", tenant, folder, self._work(wish, tenant, source))

    def _work(self, wish: Document, tenant: str, source: Work) -> Work:
        task = self._task

        def work(folder: Path, on_progress: ProgressCallback, check: Check) -> Path:
            started = time.monotonic()
            from steno_runtime.cores import available_cores
            from steno_runtime.ocr.pipeline import Options, recognize
            from steno_runtime.ocr.writers import Header, write_json

            file = source(folder, on_progress, check)
            options = Options(
                languages=wish.languages,
                engine=wish.engine,
                pages=wish.pages,
                mode=wish.mode,
                model_store=Path(task.model_store),
                workers=max(1, available_cores() // 4),  # live speech comes first
            )
            result = recognize(file, options, scratch=folder, on_progress=on_progress, check=check)
            header = Header(tenant, wish.document_id or str(uuid.uuid4()), time.monotonic() - started)
            target = folder / "result.json"
            write_json(result, header, target)
            return target

        return work
