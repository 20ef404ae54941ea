"""Searchable PDF through OCRmyPDF: the source as it looks, under an invisible layer of the recognized text."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from steno_api.documents.pages import Page
from steno_api.failures import FailureReason
from steno_runtime.cores import available_cores
from steno_runtime.errors import WorkError, is_out_of_memory
from steno_runtime.ocr.images import ImageSource
from steno_runtime.ocr.page import PageError
from steno_runtime.ocr.pipeline import RecognitionResult
from steno_runtime.sandbox import MIB, Emit, Limits, Reply, SandboxedProcess, SandboxFault, memory_budget

PageLookup = Callable[[int], Page | None]
"""Returns the page at an index (from 0) of the PDF; None if it was not read."""

_BASE_SECONDS, _SECONDS_PER_PAGE = 120.0, 30.0
"""Pages are rendered, and some of them compressed, on a slow and busy machine."""
_MEMORY = 4096 * MIB
"""For as many pages at a time as there are jobs."""
_MAX_JOBS = 4
_FILE_BYTES, _GROWTH = 1024 * MIB, 4
"""A searchable PDF is at most so large, and as many times its source."""
_A4_POINTS = (595, 842)
_DEFAULT_DPI = 200
_FORM_ASIDE = "/StenoAcroForm"
_MIN_POINTS = 3
"""No PDF's page is smaller: a picture of a few pixels is shown larger than it is."""


def write_searchable(result: RecognitionResult, target: Path) -> None:
    """Write the searchable PDF of `result` to `target`, through scratch files beside it that are removed.

    Pages that were not read (another range, embedded text, an error) stay as they are. It is made in a sandbox if the
    document was read in one.

    Raises:
        WorkError: `Encrypted`: the PDF forbids changes; `UnsupportedMedia`: its structure cannot be repaired.
    """
    if not result.options.sandboxed:
        _write(result, target)
        return
    seconds = _BASE_SECONDS + _SECONDS_PER_PAGE * result.total_pages
    limits = Limits(
        memory=memory_budget(_MEMORY),
        cpu_seconds=int(seconds * min(available_cores(), _MAX_JOBS)),
        seconds=seconds,
        file_bytes=_FILE_BYTES + _GROWTH * result.source.stat().st_size,
        readable=(str(result.source.absolute()), str(result.pages.path.absolute())),
        writable=(str(target.parent.absolute()), tempfile.gettempdir(), "/dev/shm"),  # noqa: S108 - semaphores
        programs=True,  # OCRmyPDF asks Tesseract for its version, although it is not to be used
    )
    try:
        with SandboxedProcess("The document", limits) as process:
            process.call(partial(_write_as_child, result=result, target=target), seconds=seconds)
    except SandboxFault as fault:
        raise WorkError(
            FailureReason.UNSUPPORTED_MEDIA,
            f"No text layer can be added to this document: {fault.why}; leave `pdf` out of the formats, or try a copy "
            "made with `qpdf in.pdf out.pdf`.",
        ) from fault


def _write_as_child(_emit: Emit, *, result: RecognitionResult, target: Path) -> Reply:
    _write(result, target)
    return Reply()


def _write(result: RecognitionResult, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="searchable-") as folder:
        staged = Path(folder) / "in.pdf"
        if result.kind == "pdf":
            shutil.copyfile(result.source, staged)
            numbers = None
        else:
            numbers = _image_pdf(result, staged)
        read = [
            index
            for index, page in enumerate(result.pages, start=1)
            for index in [page.number if numbers is None else index]
            if page.error is None and page.engine not in (None, "embedded") and page.text
        ]
        if not read:
            shutil.copyfile(staged, target)
            return

        def lookup(index: int) -> Page | None:
            return result.pages.get(index + 1 if numbers is None else numbers[index])

        finished = Path(folder) / "out.pdf"
        form = _set_form_aside(staged)
        _run(staged, finished, lookup, pages=read, force=result.options.mode == "force")
        if form:
            _put_form_back(finished)
        finished.replace(target)


def _set_form_aside(staged: Path) -> bool:
    """Keep a PDF's form under another key, so that OCRmyPDF does not refuse the file; return whether there was one.

    Fields, and what is filled in, stay where they are: only the catalog's entry is renamed. A signed PDF keeps its
    own, and is refused for its signature.
    """
    import pikepdf

    try:
        with pikepdf.open(staged, allow_overwriting_input=True) as pdf:
            form = pdf.Root.get(pikepdf.Name.AcroForm)
            signed = isinstance(form, pikepdf.Dictionary) and int(form.get(pikepdf.Name.SigFlags, 0)) & 1
            if not isinstance(form, pikepdf.Dictionary) or signed or pdf.is_encrypted:
                return False
            pdf.Root[_FORM_ASIDE] = form
            del pdf.Root.AcroForm
            pdf.save(staged)
    except (pikepdf.PdfError, TypeError, ValueError):  # encrypted or damaged: OCRmyPDF says so itself
        return False
    return True


def _put_form_back(finished: Path) -> None:
    import pikepdf

    with pikepdf.open(finished, allow_overwriting_input=True) as pdf:
        pdf.Root.AcroForm = pdf.Root[_FORM_ASIDE]
        del pdf.Root[_FORM_ASIDE]
        pdf.save(finished)


def _run(staged: Path, finished: Path, lookup: PageLookup, *, pages: list[int], force: bool) -> None:
    import ocrmypdf
    from ocrmypdf import exceptions

    from steno_runtime.ocr import ocrmypdf_plugin

    for name in ("ocrmypdf", "pikepdf", "fontTools", "img2pdf"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ocrmypdf_plugin.register(staged, lookup)
    try:
        ocrmypdf.ocr(
            staged,
            finished,
            plugins=["steno_runtime.ocr.ocrmypdf_plugin"],
            language=["eng"],  # the plugin knows each page's own
            pages=",".join(map(str, pages)),
            # `redo` also serves pages with no text, and scans with a stamp: visible text stays, only the rest is read.
            mode="force" if force else "redo",
            rotate_pages=True,
            output_type="pdf",
            optimize=0,
            jobs=min(available_cores(), _MAX_JOBS),
            use_threads=True,
            progress_bar=False,
        )
    except exceptions.EncryptedPdfError as error:
        raise WorkError(
            FailureReason.ENCRYPTED,
            "The PDF is protected against changes, so no text layer can be added; store a copy without protection "
            "(`qpdf --decrypt in.pdf out.pdf`) or leave `pdf` out of the formats.",
        ) from error
    except exceptions.DigitalSignatureError as error:
        raise WorkError(
            FailureReason.UNSUPPORTED_MEDIA,
            "The PDF is signed, and a text layer would break its signature; leave `pdf` out of the formats, or sign "
            "the searchable PDF of an unsigned copy.",
        ) from error
    except (exceptions.InputFileError, exceptions.SubprocessOutputError) as error:
        raise _refused(error) from error
    except exceptions.ExitCodeException as error:
        raise WorkError(
            FailureReason.INTERNAL, f"OCRmyPDF failed while adding the text layer ({type(error).__name__})."
        ) from error
    except Exception as error:
        if is_out_of_memory(error) or not _is_damaged(staged):
            raise
        raise _refused(error) from error  # OCRmyPDF and pikepdf raise anything on a damaged file
    finally:
        ocrmypdf_plugin.unregister(staged)


def _refused(error: Exception) -> WorkError:
    return WorkError(
        FailureReason.UNSUPPORTED_MEDIA,
        f"No text layer can be added to this PDF ({type(error).__name__}); leave `pdf` out of the formats, or try "
        "a copy made with `qpdf in.pdf out.pdf`.",
    )


def _is_damaged(path: Path) -> bool:
    """Return whether QPDF finds an error in a PDF."""
    import pikepdf

    try:
        with pikepdf.open(path) as pdf:
            return bool(pdf.check_pdf_syntax())
    except pikepdf.PdfError:
        return True


def _image_pdf(result: RecognitionResult, staged: Path) -> list[int]:
    """Write a PDF of the images that were read, each on a page of its size, one at a time; return their numbers."""
    import pikepdf

    numbers: list[int] = []
    with pikepdf.new() as pdf, closing(ImageSource(result.source, result.options.limits)) as source:
        for page in result.pages:
            numbers.append(page.number)
            if page.error is not None:
                pdf.add_blank_page(page_size=_A4_POINTS)
                continue
            try:
                part = staged.with_name(f"page-{len(numbers)}.pdf")
                _one_page(source, page, part)
                with pikepdf.open(part) as single:
                    pdf.pages.extend(single.pages)
            except PageError:
                pdf.add_blank_page(page_size=_A4_POINTS)
        pdf.save(staged)
    return numbers


def _one_page(source: ImageSource, page: Page, target: Path) -> None:
    import img2pdf
    from PIL import Image

    dpi = min(page.dpi or _DEFAULT_DPI, min(page.width, page.height) * 72 / _MIN_POINTS)
    # By size, not by resolution: a page may have been read at less than the picture has.
    layout = img2pdf.get_layout_fun((page.width * 72 / dpi, page.height * 72 / dpi))
    jpeg = source.untouched_jpeg()
    if jpeg is not None:
        data: bytes = jpeg
    else:
        pixels = source.load(page.number).pixels
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)  # type: ignore[arg-type]
        data = buffer.getvalue()
    with target.open("wb") as file:
        img2pdf.convert(data, outputstream=file, layout_fun=layout)
