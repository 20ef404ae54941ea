"""OCR pipeline of one document: pages are loaded in order, read by a few threads, and spooled to disk."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from steno_api.documents.pages import EngineName, Page
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check, WorkError
from steno_runtime.ocr.assembly import failed_page
from steno_runtime.ocr.engines.tesseract import TesseractEngine, is_installed
from steno_runtime.ocr.languages import UNWRITTEN, bcp47, ignored_script, normalize_language
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError, PageInput, PageSource, select_pages
from steno_runtime.ocr.reader import PageReader
from steno_runtime.ocr.spool import PageSpool
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.triton.client import TritonClient, TritonServer

LOW_CONFIDENCE = 0.7
"""Mean confidence of a page's lines below which its text is doubtful: wrong scripts and noise are read at less."""
DOUBTED_WORD, MANY_DOUBTED = 0.7, 0.22
"""A page is doubtful, too, if more than that share of its text are words of less confidence than the first: where much
is lost, what is left is often read well. Pages of which nearly all was found have up to 0.20."""

MAX_WORKERS = 4
"""Each has engines of its own, about 300 MiB."""


@dataclass(frozen=True)
class RecognitionOptions:
    """How a document is read.

    Attributes:
        languages: BCP 47, the main one first; empty: each page's script decides.
        engine: `auto` chooses for each page.
        pages: ranges such as `1-20,25`; None: all.
        mode: what to do with text a PDF carries: `skip` uses it instead of reading such pages, `redo` reads them and
            replaces the text layer of an earlier OCR, `force` reads them as images.
        model_store: where `paddleocr/` is looked for.
        model_digests: of the models that may be loaded from there; see `models.store.find`.
        workers: pages read at a time; None: one per core, four at most.
        triton: the server that has the PP-OCR models; None: this process.
        limits: what is refused.
        sandboxed: whether a child process opens the document, as one of a stranger; only where there are sandboxes.
    """

    languages: tuple[str, ...] = ()
    engine: EngineName = "auto"
    pages: str | None = None
    mode: Literal["skip", "redo", "force"] = "skip"
    model_store: Path | None = None
    model_digests: Mapping[str, str] = field(default_factory=dict[str, str])
    workers: int | None = None
    triton: TritonServer | None = None
    limits: Limits = field(default_factory=Limits)
    sandboxed: bool = sys.platform == "linux"


@dataclass(frozen=True)
class RecognitionResult:
    """A document that was read; `pages` is on disk, in the scratch directory."""

    pages: PageSpool
    kind: str
    """`image` or `pdf`."""
    source: Path
    options: RecognitionOptions
    total_pages: int
    failed_pages: int
    confidence: float
    """Mean over pages, weighted by their characters."""
    characters: int
    engines: dict[str, int]
    """Pages by engine."""
    seconds: float
    warnings: tuple[ResultWarning, ...] = ()
    """What was lost, doubted or guessed."""


def recognize(
    source: Path,
    options: RecognitionOptions,
    *,
    scratch: Path,
    on_progress: ProgressCallback,
    check: Check = lambda: None,
) -> RecognitionResult:
    """Read the document at `source`.

    A page that cannot be read becomes a page with `error`; the rest are read.

    Args:
        source: a local PNG, JPEG, TIFF or PDF.
        options: engine, languages and pages.
        scratch: a writable directory; `pages.jsonl` is written there.
        on_progress: called before the first and after every page.
        check: called between pages; raises to stop.

    Raises:
        WorkError: `UnsupportedMedia` (also when no page could be read), `Encrypted`, `TooLarge`, `InvalidSpec`.
    """
    started = time.monotonic()
    options, warnings = _with_known_languages(options)
    cores = available_cores()
    workers = options.workers or min(cores, MAX_WORKERS)
    document = open_document(source, options, check=check)
    with closing(document):
        numbers = select_pages(options.pages, document.pages)
        if len(numbers) > options.limits.max_pages:
            raise WorkError(
                FailureReason.TOO_LARGE,
                f"{len(numbers)} pages are more than the {options.limits.max_pages} allowed; {options.limits.remedy}.",
            )
        collector = _Collector(PageSpool(scratch / "pages.jsonl"), len(numbers), on_progress)
        collector.begin()
        readers = _Readers(options, threads=max(1, cores // workers), warn=collector.warnings.append)
        waiting: deque[Future[Page]] = deque()
        pool = ThreadPoolExecutor(min(workers, len(numbers)), thread_name_prefix="ocr")
        try:
            for number in numbers:
                check()
                if len(waiting) > workers:  # every worker busy and one page loaded ahead: memory stays flat
                    collector.add(waiting.popleft().result())
                try:
                    loaded = document.load(number)
                except PageError as error:
                    collector.reason = collector.reason or error.reason
                    waiting.append(_done(failed_page(number, str(error))))
                else:
                    collector.warnings += loaded.warnings
                    waiting.append(pool.submit(readers.read, loaded))
            while waiting:
                check()
                collector.add(waiting.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            readers.close()
    if collector.failed == len(numbers):
        raise WorkError(
            collector.reason or FailureReason.UNSUPPORTED_MEDIA,
            f"No page could be read; page {numbers[0]}: {collector.first_error}.",
        )
    if not collector.characters and not collector.warnings:
        collector.warnings.append(
            ResultWarning(reason=WarningReason.PAGES_EMPTY, message="No text was found: every page is blank.")
        )
    return RecognitionResult(
        pages=collector.spool,
        kind=document.kind,
        source=source,
        options=options,
        total_pages=len(numbers),
        failed_pages=collector.failed,
        confidence=collector.confidence,
        characters=collector.characters,
        engines=collector.engines,
        seconds=time.monotonic() - started,
        warnings=(*warnings, *document.warnings, *sorted(collector.warnings, key=lambda warning: warning.page or 0)),
    )


def open_document(source: Path, options: RecognitionOptions, *, check: Check = lambda: None) -> PageSource:
    """Open the document at `source`, in a sandbox if the options say so.

    Args:
        source: a local file.
        options: how it is read.
        check: called while a page is read in a sandbox; raises to stop.

    Raises:
        WorkError: `UnsupportedMedia`, `Encrypted` or `TooLarge`.
    """
    reuse_text = options.mode == "skip"
    if not options.sandboxed:
        return open_source(source, options.limits, reuse_text=reuse_text)
    from steno_runtime.ocr.sandboxed import SandboxedSource

    return SandboxedSource(source, options.limits, reuse_text=reuse_text, check=check)


def doubted_share(page: Page) -> float:
    """Return the share of a page's text that are words, or lines without words, of little confidence."""
    lines = [line for region in page.regions for line in region.lines]
    parts = [part for line in lines for part in (line.words or (line,))]
    characters = sum(len(part.text) for part in parts)
    return sum(len(part.text) for part in parts if part.confidence < DOUBTED_WORD) / characters if characters else 0.0


def _with_known_languages(options: RecognitionOptions) -> tuple[RecognitionOptions, list[ResultWarning]]:
    """Return options with the languages that pages are read in, and warnings of what they are not read in.

    Raises:
        WorkError: `InvalidSpec`: a language is not known.
    """
    languages: list[str] = []
    warnings: list[ResultWarning] = []
    for given in options.languages:
        known = normalize_language(given)
        if known is None:
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"languages: {given!r} is not known; write BCP 47 tags such as en, ko, zh-Hant.",
            )
        why = ""
        if known in UNWRITTEN and not (options.engine in ("auto", TesseractEngine.name) and is_installed(known)):
            why, known = f"Tesseract's data for {bcp47(known)} is not here", UNWRITTEN[known]
        elif (script := ignored_script(given)) is not None:
            why = f"the script {script} is not known of that language"
        if why:
            message = f"Pages in {given} were read as {bcp47(known)}: {why}. Check the text."
            warnings.append(ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message))
        languages.append(bcp47(known))
    return replace(options, languages=tuple(dict.fromkeys(languages))), warnings


def _done(page: Page) -> Future[Page]:
    future: Future[Page] = Future()
    future.set_result(page)
    return future


class _Readers:
    """One PageReader per worker thread."""

    def __init__(self, options: RecognitionOptions, *, threads: int, warn: Callable[[ResultWarning], None]) -> None:
        self._options = options
        self._warn = warn
        self._threads = threads
        self._triton = TritonClient(options.triton) if options.triton else None
        self._local = threading.local()

    def close(self) -> None:
        """Close the connection to a Triton server."""
        if self._triton:
            self._triton.close()

    def read(self, page: PageInput) -> Page:
        """Read `page`; an error of one page becomes a failed page."""
        reader: PageReader | None = getattr(self._local, "reader", None)
        try:
            if reader is None:
                options = self._options
                reader = self._local.reader = PageReader(
                    engine=options.engine,
                    languages=options.languages,
                    model_store=options.model_store,
                    model_digests=options.model_digests,
                    threads=self._threads,
                    triton=self._triton,
                    warn=self._warn,
                )
            return reader.read(page)
        except PageError as error:
            return failed_page(page.number, str(error))
        except (WorkError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  (engines raise anything; one page must not end the rest)
            return failed_page(page.number, f"the engine failed on this page ({type(error).__name__})")


class _Collector:
    """Collects finished pages in order, and their figures."""

    def __init__(self, spool: PageSpool, total: int, on_progress: ProgressCallback) -> None:
        self.spool = spool
        self.failed = 0
        self.characters = 0
        self.engines: dict[str, int] = {}
        self.first_error = ""
        self.reason: FailureReason | None = None
        """Of the first page that could not be loaded."""
        self.warnings: list[ResultWarning] = []
        self._confidence_sum = 0.0
        self._total = total
        self._on_progress = on_progress

    @property
    def confidence(self) -> float:
        return round(self._confidence_sum / self.characters, 4) if self.characters else 0.0

    def begin(self) -> None:
        self._report()

    def add(self, page: Page) -> None:
        self.spool.add(page)
        if page.error is not None:
            self.failed += 1
            self.first_error = self.first_error or page.error
            self._warn(WarningReason.PAGES_FAILED, page, f"Page {page.number} could not be read: {page.error}.")
        elif not page.text.strip():
            if page.engine is not None:  # else none was needed: the page is blank
                message = f"No text was found on page {page.number}: it is blank, or its text was not recognized."
                self._warn(WarningReason.PAGES_EMPTY, page, message)
        elif page.confidence < LOW_CONFIDENCE or doubted_share(page) > MANY_DOUBTED:
            message = f"The text of page {page.number} is doubtful (confidence {page.confidence:.2f}): check it."
            self._warn(WarningReason.LOW_CONFIDENCE, page, message)
        if page.engine:
            self.engines[page.engine] = self.engines.get(page.engine, 0) + 1
        self.characters += len(page.text)
        self._confidence_sum += page.confidence * len(page.text)
        self._report()

    def _warn(self, reason: WarningReason, page: Page, message: str) -> None:
        self.warnings.append(ResultWarning(reason=reason, message=message, page=page.number))

    def _report(self) -> None:
        done = len(self.spool)
        message = f"page {done} of {self._total}" + (f", {self.failed} unreadable" if self.failed else "")
        self._on_progress(ProgressUpdate(Stage.RECOGNIZING, done / self._total, pages=done, message=message))
