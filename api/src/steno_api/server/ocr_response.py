"""Pages as the message of gRPC that has them: the same from a pool's server and from the gateway.

Separate because it needs the extra `grpc`, which the documents themselves do not.
"""

from __future__ import annotations

from steno_api.documents import pages
from steno_api.pb.steno.v1 import ocr_pb2


def ocr_response(document: pages.Pages) -> ocr_pb2.OCRResponse:
    """Return the response that has all of a document."""
    return ocr_pb2.OCRResponse(
        document_id=document.document_id,
        text=document.text,
        pages=[_page(page) for page in document.pages],
        total_pages=document.total_pages,
        failed_pages=document.failed_pages,
        confidence=document.confidence,
        processing_time=document.processing_time,
        warnings=[
            ocr_pb2.ResultWarning(reason=warning.reason, message=warning.message, page=warning.page or 0)
            for warning in document.warnings
        ],
    )


def _page(page: pages.Page) -> ocr_pb2.Page:
    return ocr_pb2.Page(
        number=page.number,
        width=page.width,
        height=page.height,
        dpi=page.dpi,
        rotation=page.rotation,
        languages=page.languages,
        engine=page.engine or "",
        confidence=page.confidence,
        regions=[
            ocr_pb2.Region(
                kind=region.kind, polygon=_points(region.polygon), lines=[_line(line) for line in region.lines]
            )
            for region in page.regions
        ],
        text=page.text,
        error=page.error or "",
    )


def _line(line: pages.Line) -> ocr_pb2.Line:
    words = [
        ocr_pb2.TextWord(polygon=_points(word.polygon), text=word.text, confidence=word.confidence)
        for word in line.words
    ]
    return ocr_pb2.Line(polygon=_points(line.polygon), text=line.text, confidence=line.confidence, words=words)


def _points(polygon: pages.Polygon) -> list[ocr_pb2.Point]:
    return [ocr_pb2.Point(x=x, y=y) for x, y in polygon]
