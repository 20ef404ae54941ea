"""Task handler for OCR: read the pages, spool them to disk, write the documents page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from steno_api.documents.manifest import OCRSummary
from steno_api.documents.pages import EngineName, Pages
from steno_api.documents.warnings import ResultWarning
from steno_api.v1alpha1.job import Stage
from steno_api.worker.task import OCRTask
from steno_runtime import sandbox
from steno_runtime.ocr.open import DECODERS
from steno_runtime.ocr.writers import FILE_NAMES, MEDIA_TYPES, WRITERS, Header
from steno_runtime.progress import OCR_WEIGHTS
from steno_runtime.publishing import Format
from steno_runtime.worker.task_handler import AttemptContext

if TYPE_CHECKING:
    from steno_runtime.ocr.pipeline import RecognitionOptions, RecognitionResult

FORMATS = {fmt: Format(FILE_NAMES[fmt], MEDIA_TYPES[fmt]) for fmt in WRITERS}


@dataclass(frozen=True)
class PagesDocument:
    """Pages on disk, and the source they were read from."""

    result: RecognitionResult
    header: Header

    def write(self, fmt: str, target: Path) -> None:
        """See `Document`."""
        WRITERS[fmt](self.result, self.header, target)

    def summary(self) -> OCRSummary:
        """See `Document`."""
        result, seconds = self.result, self.header.processing_time
        return OCRSummary(
            pages=result.total_pages,
            failed_pages=result.failed_pages,
            characters=result.characters,
            confidence=result.confidence,
            engines=result.engines,
            processing_seconds=seconds,
            pages_per_second=round(result.total_pages / seconds, 3) if seconds > 0 else 0.0,
        )

    def warnings(self) -> Sequence[ResultWarning]:
        """See `Document`."""
        return self.result.warnings

    def with_warnings(self, warnings: Sequence[ResultWarning]) -> PagesDocument:
        """See `Document`."""
        return replace(self, result=replace(self.result, warnings=(*self.result.warnings, *warnings)))


class OCRHandler:
    """See `TaskHandler`."""

    formats: Mapping[str, Format] = FORMATS
    weights: Mapping[Stage, float] = OCR_WEIGHTS
    remedy = "use a RuntimeProfile with more memory, or fewer `pages`"

    def __init__(self, task: OCRTask) -> None:
        self._task = task

    def run(self, attempt: AttemptContext) -> PagesDocument:
        """See `TaskHandler`."""
        sandbox.prepare(*DECODERS)  # while the source is fetched
        source = attempt.fetch(1.0)
        attempt.check()
        from steno_runtime.ocr.pipeline import recognize

        with attempt.turn():
            result = recognize(
                source, self._options(), scratch=attempt.scratch, on_progress=attempt.on_progress, check=attempt.check
            )
        return PagesDocument(result, self._header(attempt.seconds()))

    def load_existing(self, data: bytes, attempt: AttemptContext) -> PagesDocument:
        """See `TaskHandler`. The source is fetched again where a searchable PDF is to be made of it."""
        document = Pages.model_validate_json(data)
        if document.document_id != self._task.document_id:
            raise ValueError("they are the pages of another document")
        from steno_runtime.ocr.pipeline import RecognitionResult
        from steno_runtime.ocr.spool import PageSpool

        options = self._options()
        source, kind = Path(), "image"
        if "pdf" in self._task.output.formats:
            source = attempt.fetch(1.0)
            kind = _kind(source, options)
        spool = PageSpool(attempt.scratch / "existing.jsonl")
        engines: dict[str, int] = {}
        for page in document.pages:
            spool.add(page)
            if page.engine:
                engines[page.engine] = engines.get(page.engine, 0) + 1
        result = RecognitionResult(
            pages=spool,
            kind=kind,
            source=source,
            options=options,
            total_pages=document.total_pages,
            failed_pages=document.failed_pages,
            confidence=document.confidence,
            characters=sum(len(page.text) for page in document.pages),
            engines=engines,
            seconds=document.processing_time,
            warnings=document.warnings,
        )
        return PagesDocument(result, self._header(document.processing_time))

    def _options(self) -> RecognitionOptions:
        from steno_runtime.cores import available_cores
        from steno_runtime.ocr.page import Limits
        from steno_runtime.ocr.pipeline import MAX_WORKERS, RecognitionOptions
        from steno_runtime.triton.client import TritonServer

        task, short = self._task, self._task.only_short
        workers = min(available_cores(), MAX_WORKERS)
        return RecognitionOptions(
            languages=tuple(task.languages),
            engine=cast("EngineName", task.engine.lower()),
            pages=task.pages,
            mode=cast("Literal['skip', 'redo', 'force']", task.mode.lower()),
            model_store=Path(task.model_store),
            model_digests=task.model_digests,
            workers=max(1, workers // task.batch_divisor),
            triton=TritonServer.from_environment(),
            limits=Limits() if short is None else Limits(max_pages=short.pages, remedy="a pod of its own reads them"),
        )

    def _header(self, seconds: float) -> Header:
        return Header(self._task.tenant, self._task.document_id, round(seconds, 3), self._task.metadata)


def _kind(source: Path, options: RecognitionOptions) -> str:
    from steno_runtime.ocr.pipeline import open_document

    with closing(open_document(source, options)) as document:
        return document.kind
