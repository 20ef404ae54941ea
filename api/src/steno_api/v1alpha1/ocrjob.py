"""OCRJob: images or PDFs in, page documents out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from steno_api.documents.manifest import OCRSummary
from steno_api.rules import Pattern
from steno_api.v1alpha1.common import Output
from steno_api.v1alpha1.job import JOB_NAME_RULE, JobSpec, JobStatus
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition

PAGES = (
    r"([1-9][0-9]{0,5}(-([1-9][0-9]{0,5})?)?|-[1-9][0-9]{0,5})"
    r"(,([1-9][0-9]{0,5}(-([1-9][0-9]{0,5})?)?|-[1-9][0-9]{0,5}))*"
)
"""Pages and ranges of pages."""


class OCREngine(StrEnum):
    """Engine that reads the pages."""

    AUTO = "Auto"
    TESSERACT = "Tesseract"
    RAPIDOCR = "RapidOCR"
    PADDLEOCR = "PaddleOCR"


class OCRMode(StrEnum):
    """Treatment of pages that already contain text."""

    SKIP = "Skip"
    REDO = "Redo"
    FORCE = "Force"


Language = Annotated[
    str,
    Field(min_length=2, max_length=35),
    Pattern(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*", "must be a BCP 47 language tag such as en, ko or zh-Hant"),
]
"""A BCP 47 language tag."""


class PageFormat(StrEnum):
    """Formats of the result of OCR."""

    JSON = "json"
    TXT = "txt"
    MARKDOWN = "markdown"
    PDF = "pdf"


class PagesOutput(Output):
    """Where the document is published, and in which formats."""

    formats: Annotated[
        list[PageFormat], Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=[PageFormat.JSON])
    """Formats to write; `pdf` is the source with a text layer. The manifest is always written."""


class OCRJobSpec(JobSpec):
    """What to read, how, and where to publish the result."""

    output: PagesOutput  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Where to publish the results, and in which formats."""
    document_id: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(default=None, alias="documentID")
    """Your own identifier of the document; default: the resource's name."""
    languages: Annotated[list[Language], Field(max_length=8)] = Field(default=[])
    """BCP 47 tags of the languages on the pages, the main one first; empty: detected from each page's script. Old
    German print is `de-Latf`; columns of Chinese and Japanese are found without a tag of their own."""
    engine: OCREngine = OCREngine.AUTO
    """`Auto` selects, page by page, the engine that is best for the page's script and kind."""
    pages: (
        Annotated[
            str,
            Field(min_length=1, max_length=256),
            Pattern(PAGES, "must be pages and ranges such as 1-20,25 or 3-"),
        ]
        | None
    ) = None
    """Pages to read, from 1, such as `1-20,25` or `3-`; absent: all."""
    mode: OCRMode = OCRMode.SKIP
    """Treatment of pages that already contain text. `Skip` uses the text that a page of a PDF contains instead of
    reading the page, `Redo` reads such pages and replaces the text layer of an earlier OCR, `Force` reads every page
    as an image."""


class OCRJobStatus(JobStatus):
    """Observed state; written by the operator only."""

    summary: OCRSummary | None = None
    """Figures of the finished document."""


class OCRJob(Resource):
    """Images or PDFs in, page documents out."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="OCRJob",
        plural="ocrjobs",
        short_names=("oj",),
        scope="Namespaced",
        columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Progress", ".status.progress.percent", "integer", "Percent of the attempt"),
            PrinterColumn("Pages", ".status.summary.pages", "integer"),
            PrinterColumn("Engine", ".spec.engine"),
            PrinterColumn("Failed", ".status.summary.failedPages", "integer", "Pages not read", wide=True),
            PrinterColumn("Confidence", ".status.summary.confidence", "number", wide=True),
            PrinterColumn("Attempt", ".status.attempt", "integer", wide=True),
            PrinterColumn("Warning", ".status.warnings[0].reason", wide=True),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
            PrinterColumn("Node", ".status.nodeName", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(JOB_NAME_RULE,),
        selectable=(".status.phase", ".spec.profileRef.name", ".spec.tenantRef.name"),
    )
    kind: Literal["OCRJob"] = "OCRJob"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: OCRJobSpec
    status: OCRJobStatus = OCRJobStatus()
