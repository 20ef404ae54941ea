"""Page source in a sandbox: `open.open_source` in a child process, whose pages come back through a pipe.

A page that the decoder crashes on, or that takes too much of anything, fails alone: the next one has another child.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_runtime.errors import Check
from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError, PageInput, PageSource, Picture
from steno_runtime.sandbox import (
    MIB,
    Emit,
    ProtocolFault,
    Reply,
    SandboxedProcess,
    SandboxFault,
    memory_budget,
)
from steno_runtime.sandbox import Limits as ProcessLimits

OPEN_SECONDS = 120.0
"""For reading the structure of a document of thousands of pages."""
PAGE_SECONDS = 30.0
"""For one page, on a slow and busy machine; an ordinary one takes a fraction of a second."""
MEAN_SECONDS = 10.0
"""For a page in the mean of a document."""
MAX_FAULTS = 3
"""Pages that end their child, after which the rest is not tried."""
TEXT_BYTES = 256 * MIB
"""Of all pages together: pages may share their content, and a small file say the same thousands of times."""
_BASE_MEMORY, _BYTES_PER_PIXEL = 256 * MIB, 28
"""Bytes that a page takes while it is decoded, turned and converted: several copies, some of floats."""
_PIXEL_BYTES = 6
"""Of a page's answer: its picture in RGB, and as much again for parts of it."""
_BEYOND = 4
"""Times the size of a page that a line may be away from its corner."""
_LONGEST_SIDE = 1_000_000
_MAX_PAGES = 1_000_000
_MAX_WARNINGS = 20

_TOO_LARGE = FailureReason.TOO_LARGE
_LINES = TypeAdapter(tuple[RecognizedLine, ...])
_WARNINGS = TypeAdapter(tuple[ResultWarning, ...])
_opened: list[PageSource] = []
"""The document of this process, which is a child and has a single one."""


class SandboxedSource:
    """The pages of a document that a stranger sent; see `PageSource`."""

    def __init__(self, path: Path, limits: Limits, *, reuse_text: bool, check: Check = lambda: None) -> None:
        """Open it.

        Args:
            path: see `open_source`.
            limits: see `open_source`.
            reuse_text: see `open_source`.
            check: called ten times a second while a page is read; raises to stop.

        Raises:
            WorkError: see `open_source`; `UnsupportedMedia` or `TooLarge` as well if that ends its child.
        """
        self._open = partial(_open, path=path, limits=limits, reuse_text=reuse_text)
        self._pixels = limits.max_pixels
        self._check = check
        self._faults = 0
        self._text = TEXT_BYTES
        self._process = self._start(path, limits)
        reply = self._process.call(self._open, seconds=OPEN_SECONDS, check=check)
        self.kind, self.pages, self.warnings = self._process.checked(partial(_parse_document, reply))
        self._restart = partial(self._start, path, limits)

    def load(self, number: int) -> PageInput:
        """See `PageSource`."""
        if self._faults >= MAX_FAULTS:
            raise PageError(f"{MAX_FAULTS} pages before it could not be read at all, and the rest was not tried")
        if self._text <= 0:
            raise PageError(f"the pages before it have more than {TEXT_BYTES // MIB} MiB of text", _TOO_LARGE)
        try:
            if self._process.closed:
                self._process = self._restart()
                self._process.call(self._open, seconds=OPEN_SECONDS, check=self._check)
            reply = self._process.call(partial(_load, number=number), seconds=PAGE_SECONDS, check=self._check)
            self._text -= reply.size
            return self._process.checked(partial(_parse_page, reply, number, self._pixels))
        except SandboxFault as fault:
            self._faults += 1
            raise PageError(f"{fault.why}; save the document anew with another program", fault.reason) from fault

    def close(self) -> None:
        """See `PageSource`."""
        self._process.close()

    def _start(self, path: Path, limits: Limits) -> SandboxedProcess:
        total = OPEN_SECONDS + MEAN_SECONDS * limits.max_pages
        memory = _BASE_MEMORY + _BYTES_PER_PIXEL * limits.max_pixels
        return SandboxedProcess(
            "The document",
            ProcessLimits(
                memory=memory_budget(memory),
                cpu_seconds=int(total),
                seconds=total,
                array_bytes=_PIXEL_BYTES * limits.max_pixels,
                readable=(str(path.absolute()),),
            ),
        )


def _open(_emit: Emit, *, path: Path, limits: Limits, reuse_text: bool) -> Reply:
    """Open the document, as the child."""
    source = open_source(path, limits, reuse_text=reuse_text)
    _opened[:] = [source]
    warnings = [warning.model_dump(mode="json") for warning in source.warnings]
    return Reply({"kind": source.kind, "pages": source.pages, "warnings": warnings})


def _load(_emit: Emit, *, number: int) -> Reply:
    """Load a page, as the child."""
    try:
        page = _opened[0].load(number)
    except PageError as error:
        return Reply({"error": str(error), "reason": error.reason})
    arrays = [] if page.pixels is None else [page.pixels]
    value = {
        "size": [page.width, page.height, page.dpi],
        "lines": _LINES.dump_python(page.embedded, mode="json"),
        "pictures": [[picture.left, picture.top] for picture in page.pictures],
        "warnings": [warning.model_dump(mode="json") for warning in page.warnings],
    }
    return Reply(value, arrays + [picture.pixels for picture in page.pictures])


def _parse_document(reply: Reply) -> tuple[str, int, tuple[ResultWarning, ...]]:
    kind, pages = reply.value["kind"], reply.value["pages"]
    if kind not in ("image", "pdf") or type(pages) is not int or not 1 <= pages <= _MAX_PAGES:
        raise ProtocolFault("no document")
    return kind, pages, _WARNINGS.validate_python(reply.value["warnings"])[:_MAX_WARNINGS]


def _parse_page(reply: Reply, number: int, max_pixels: int) -> PageInput:
    """Return the page that the child says it loaded, if it can be true.

    Args:
        reply: of the child.
        number: of the page.
        max_pixels: of a page.
    """
    value = reply.value
    if "error" in value:
        if (reason := FailureReason(value["reason"])) not in (FailureReason.UNSUPPORTED_MEDIA, _TOO_LARGE):
            raise ProtocolFault("a page that fails for another reason")
        raise PageError(" ".join(str(value["error"]).split())[:500], reason)
    width, height, dpi = (_whole(side, _LONGEST_SIDE) for side in value["size"])
    arrays = list(reply.arrays)
    corners = [(_whole(left, width), _whole(top, height)) for left, top in value["pictures"]]
    pixels = arrays.pop(0) if len(arrays) == len(corners) + 1 else None
    if len(arrays) != len(corners) or not width or not height or width * height > max_pixels + width + height:
        raise ProtocolFault("no page")
    for array in (*arrays, *([] if pixels is None else [pixels])):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise ProtocolFault("no picture")
    if pixels is not None and pixels.shape[:2] != (height, width):
        raise ProtocolFault("a picture of another size")
    lines = _LINES.validate_python(value["lines"])
    _check_places(lines, width, height)
    return PageInput(
        number,
        width,
        height,
        dpi,
        pixels=pixels,
        embedded=lines,
        pictures=tuple(Picture(*at, array) for at, array in zip(corners, arrays, strict=True)),
        warnings=_WARNINGS.validate_python(value["warnings"])[:_MAX_WARNINGS],
    )


def _check_places(lines: tuple[RecognizedLine, ...], width: int, height: int) -> None:
    parts = [part for line in lines for part in (line, *line.words)]
    if not parts:
        return
    corners = np.array([part.quad for part in parts], np.float64).reshape(-1, 2)
    beyond = (np.abs(corners) > (_BEYOND * width, _BEYOND * height)).any()
    if beyond or not all(0.0 <= part.confidence <= 1.0 for part in parts):
        raise ProtocolFault("a line that cannot be")


def _whole(number: Any, most: int) -> int:
    if type(number) is not int or not 0 <= number <= most:
        raise ProtocolFault("a place that cannot be")
    return number
