"""gRPC service `OCRService`: documents, one or many a call."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from steno_api.documents import pages
from steno_api.gateway.api_keys import Scope
from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.ocr_response import ocr_response
from steno_runtime.publishing import PRIMARY_FORMAT
from steno_runtime.serve.errors import to_api_error
from steno_runtime.serve.transports.grpc.calls import Context, abort, metadata_token
from steno_runtime.serve.uploads.documents import ArtifactFields, DocumentService
from steno_runtime.serve.uploads.service import UploadService, parse_fields

log = logging.getLogger(__name__)

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
"""A gRPC message is in memory as a whole; larger documents go to `/ocr/process`."""


class OCRService(ocr_pb2_grpc.OCRServiceServicer):
    """The service. An interceptor has checked the caller's token already."""

    def __init__(self, uploads: UploadService, documents: DocumentService) -> None:
        self._uploads = uploads
        self._documents = documents

    async def ProcessDocument(  # noqa: N802 - the name of the original API
        self, request: ocr_pb2.DocumentRequest, context: Context
    ) -> ocr_pb2.OCRResponse:
        """See the proto."""
        try:
            return await self._read(request, self._claims(context))
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001
            await abort(context, _to_api_error(error))

    async def BatchProcess(  # noqa: N802 - the name of the original API
        self, request_iterator: AsyncIterator[ocr_pb2.DocumentRequest], context: Context
    ) -> AsyncIterator[ocr_pb2.OCRResponse]:
        """See the proto."""
        try:
            claims = self._claims(context)
        except ApiError as error:
            await abort(context, error)
        async for request in request_iterator:
            # A call may last for days: its token has to be valid still, or the whole call ends.
            self._uploads.access.check(claims, new_work=True)
            try:
                yield await self._read(request, claims)
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001  (one bad document does not fail the rest)
                answer = _to_api_error(error)
                problem = ocr_pb2.Problem(code=answer.status.code, message=answer.message)
                yield ocr_pb2.OCRResponse(document_id=request.document_id, error=problem)

    def _claims(self, context: Context) -> SessionClaims:
        return self._uploads.authenticate(metadata_token(context.invocation_metadata()), Scope.OCR)

    async def _read(self, request: ocr_pb2.DocumentRequest, claims: SessionClaims) -> ocr_pb2.OCRResponse:
        self._uploads.readiness.require_engine()
        self._uploads.queue.check_capacity("ocr")
        fields = parse_fields(
            ArtifactFields,
            {
                "tenant_id": request.tenant_id,
                "document_id": request.document_id or str(uuid.uuid4()),
                "document_url": request.document_url,
                "languages": list(request.languages),
                "engine": request.engine,
                "pages": request.pages,
                "mode": request.mode,
                "formats": list(request.formats),
                "max_pages": request.max_pages,
            },
        )
        submitter = self._uploads.submitter(claims, fields)
        if fields.formats:  # the metadata are the job's, and nothing of how this server was asked
            submitter = submitter.model_copy(update={"metadata": claims.metadata | dict(request.metadata)})
        source = request.WhichOneof("source")
        if source is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Set `content`, or `document_url`.")
        async with self._uploads.queue.reserve() as folder:
            file = folder / "source" if source == "content" else None
            if file is not None:
                await asyncio.to_thread(file.write_bytes, request.content)
            job = self._documents.submit(fields, submitter, folder, file)
        try:
            await job.done.wait()
            self._uploads.access.check(claims)
            return await asyncio.to_thread(_response, job.result_file(), fields)
        finally:
            self._uploads.queue.cancel(job)


def _to_api_error(error: Exception) -> ApiError:
    answer = to_api_error(error)
    if answer.status is ErrorCode.INTERNAL.value:
        log.error("a document failed", extra={"error": type(error).__name__})
    return answer


def _response(result: Path, fields: ArtifactFields) -> ocr_pb2.OCRResponse:
    if not fields.formats:
        return ocr_response(pages.Pages.model_validate_json(result.read_bytes()))
    from steno_runtime.ocr.writers import FILE_NAMES, MEDIA_TYPES

    names = {fmt: FILE_NAMES[fmt] for fmt in sorted(FILE_NAMES, key=lambda fmt: (fmt != PRIMARY_FORMAT, fmt))}
    files = [
        ocr_pb2.Artifact(format=fmt, name=name, content_type=MEDIA_TYPES[fmt], data=(result / name).read_bytes())
        for fmt, name in names.items()
        if (result / name).exists()
    ]
    return ocr_pb2.OCRResponse(document_id=fields.document_id or "", artifacts=files)
