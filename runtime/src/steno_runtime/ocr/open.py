"""Factory of page sources, by the file's first bytes: its own file, so that the sources need not know each other."""

from __future__ import annotations

from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.page import Limits, PageSource

DECODERS = ("steno_runtime.ocr.sandboxed", "steno_runtime.ocr.pdf", "steno_runtime.ocr.images")
"""Modules that a sandbox imports before it forks, if it is prepared for documents."""
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_source(path: Path, limits: Limits, *, reuse_text: bool) -> PageSource:
    """Open a document by its content, whatever its name says.

    Args:
        path: a local file.
        limits: what is refused.
        reuse_text: whether pages of a PDF that carry text give that instead of pixels.

    Raises:
        WorkError: `UnsupportedMedia` or `Encrypted`.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF-" in head:
        from steno_runtime.ocr.pdf import PdfSource

        return PdfSource(path, limits, reuse_text=reuse_text)
    if head.startswith(_IMAGES):
        from steno_runtime.ocr.images import ImageSource

        return ImageSource(path, limits)
    what = "is empty" if not head else "is neither PNG, JPEG, TIFF nor PDF"
    raise WorkError(FailureReason.UNSUPPORTED_MEDIA, f"The source {what}; convert it to one of these.")
