"""Output formats of a document: JSON, text, Markdown and searchable PDF, written page by page.

The names and media types of the formats are known without importing an engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.documents.pages import SCHEMA_VERSION
from steno_runtime.ocr.languages import script
from steno_runtime.ocr.markdown import markdown

if TYPE_CHECKING:
    from steno_runtime.ocr.pipeline import RecognitionResult


@dataclass(frozen=True)
class Header:
    """Fields of a document that its pages do not have."""

    tenant_id: str
    document_id: str
    processing_time: float
    """Seconds from the task's start."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """Free text of whoever asked for it."""


Writer = Callable[["RecognitionResult", Header, Path], None]
"""Writes a document to a path in one format; raises `WorkError` if the document cannot have that format.

The arguments are the pages on disk, the fields that they do not have, and the path, which is in a scratch directory.
"""


def write_json(result: RecognitionResult, header: Header, target: Path) -> None:
    """Write `steno_api.documents.pages.Pages`, with one page in memory at a time."""
    fields = {
        "schema_version": SCHEMA_VERSION,
        "tenant_id": header.tenant_id,
        "document_id": header.document_id,
        "engine": result.options.engine,
        "total_pages": result.total_pages,
        "failed_pages": result.failed_pages,
        "confidence": result.confidence,
        "processing_time": round(header.processing_time, 3),
        "metadata": dict(header.metadata),
    }
    with target.open("w", encoding="utf-8") as file:
        file.write(json.dumps(fields, ensure_ascii=False)[:-1])
        file.write(', "text": "')
        for index, page in enumerate(result.pages):
            file.write(json.dumps(("\f" if index else "") + page.text, ensure_ascii=False)[1:-1])
        file.write('", "pages": [')
        for index, page in enumerate(result.pages):
            file.write((",\n" if index else "\n") + page.model_dump_json())
        warnings = [warning.model_dump(mode="json", exclude_none=True) for warning in result.warnings]
        file.write('\n], "warnings": ' + json.dumps(warnings, ensure_ascii=False) + "}\n")


def write_text(result: RecognitionResult, header: Header, target: Path) -> None:  # noqa: ARG001
    """Write the text in reading order; form feeds separate pages, as with `pdftotext`."""
    with target.open("w", encoding="utf-8") as file:
        for index, page in enumerate(result.pages):
            file.write(("\f" if index else "") + page.text + "\n")


def write_markdown(result: RecognitionResult, header: Header, target: Path) -> None:  # noqa: ARG001
    """Write headings, paragraphs and lists, with the lines of a paragraph joined; a comment begins each page."""
    with target.open("w", encoding="utf-8") as file:
        for index, page in enumerate(result.pages):
            file.write(("\n" if index else "") + f"<!-- page {page.number} -->\n")
            if page.error:
                file.write(f"\n<!-- not read: {page.error.replace('--', '- -')} -->\n")
            separator = "" if page.languages and script(page.languages[0]) in ("Hani", "Jpan") else " "
            if text := markdown(page.regions, separator):
                file.write(f"\n{text}\n")


def write_pdf(result: RecognitionResult, header: Header, target: Path) -> None:  # noqa: ARG001
    """Write the source with an invisible layer of its text."""
    from steno_runtime.ocr.searchable import write_searchable

    write_searchable(result, target)


WRITERS: dict[str, Writer] = {"json": write_json, "txt": write_text, "markdown": write_markdown, "pdf": write_pdf}
FILE_NAMES = {"json": "pages.json", "txt": "pages.txt", "markdown": "pages.md", "pdf": "searchable.pdf"}
MEDIA_TYPES = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "pdf": "application/pdf",
}
