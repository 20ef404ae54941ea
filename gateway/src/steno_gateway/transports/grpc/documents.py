"""`OCRService` of gRPC: each document becomes an OCRJob, as those of REST do, and its pages the response.

A message of gRPC is in memory as a whole, so documents are small here, and one at a time of each call is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from steno_api.documents.pages import Pages
from steno_api.pb.steno.v1 import ocr_pb2
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.ocr_response import ocr_response
from steno_api.v1alpha1.ocrjob import OCREngine
from steno_gateway.access.access import Access
from steno_gateway.access.principal import Principal
from steno_gateway.transports.grpc.calls import IDEMPOTENCY_KEY, JOB_ID, Call, Method
from steno_gateway.transports.http import parse_fields
from steno_gateway.transports.intake import MAX_KEY_CHARS
from steno_gateway.transports.live_calls import running
from steno_gateway.transports.original_rest import DocumentFields
from steno_gateway.work.job_kinds import DOCUMENTS, Job, failure, has_ended, state
from steno_gateway.work.jobs import JobService

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
MAX_CALLS = 24
"""On each replica; each may have a message in memory, twice while it is staged."""
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
RECEIVE_SECONDS = 60.0
"""Within which the document of `ProcessDocument` has to arrive."""
BATCH_JOBS = 8
"""Of one `BatchProcess`, at a time."""
_ENGINES = {each.lower(): each for each in OCREngine}
_MAX_DOCUMENT_ID = 253
DocumentCall = Call[ocr_pb2.DocumentRequest]


class DocumentService:
    """The service."""

    def __init__(self, access: Access, jobs: JobService) -> None:
        self._access = access
        self._jobs = jobs
        self._calls = 0

    def methods(self, service: str) -> list[Method[Any]]:
        """Return its methods under a name of the service."""
        served = {"ProcessDocument": self._process, "BatchProcess": self._batch}
        return [
            Method(f"/{service}/{name}", DOCUMENTS.scope, ocr_pb2.DocumentRequest, ocr_pb2.OCRResponse, serve)
            for name, serve in served.items()
        ]

    async def _process(self, call: DocumentCall) -> None:
        with self._place():
            request = await call.first(RECEIVE_SECONDS)
            key = _idempotency_key(call)
            job = await self._submit(call.admitted.principal, request, key)
            document_id = request.document_id
            del request
        call.state["job_id"] = call.trailing[JOB_ID] = job.metadata.name
        await call.send(await self._response(call.admitted.principal, job, document_id, forget=key is None))

    async def _batch(self, call: DocumentCall) -> None:
        call.state["documents"] = 0
        # One that is done waits for those before it: responses come in the order of the documents.
        responses: asyncio.Queue[asyncio.Task[ocr_pb2.OCRResponse] | Exception | None] = asyncio.Queue(BATCH_JOBS - 1)
        with self._place():
            async with running(self._submit_all(call, responses)):
                while (response := await responses.get()) is not None:
                    if isinstance(response, Exception):
                        raise response
                    await call.send(await response)
                    call.state["documents"] += 1

    async def _submit_all(self, call: DocumentCall, responses: asyncio.Queue[Any]) -> None:
        """Submit the documents of a call; the tasks of their responses go into a queue, and None at the end."""
        key = _idempotency_key(call)
        tasks: set[asyncio.Task[ocr_pb2.OCRResponse]] = set()
        try:
            number = 0
            async for request in call.requests:
                number += 1
                try:
                    response = await self._submitted(call, request, key and f"{key}/{number}")
                except ApiError as error:
                    if error.status is ErrorCode.KEY_INVALID.value:
                        raise
                    response = _refused(request.document_id, error)
                task = asyncio.ensure_future(response)
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await responses.put(task)
            await responses.put(None)
            await asyncio.Event().wait()  # the tasks are this one's: they end with it
        except Exception as error:  # noqa: BLE001 - the call ends with it, as with any of its own
            await responses.put(error)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _submitted(self, call: DocumentCall, request: ocr_pb2.DocumentRequest, key: str | None) -> Any:
        """Submit a document of a batch, and return the coroutine that waits for its response."""
        await self._access.admit_more(call.admitted)
        principal, document_id = call.admitted.principal, request.document_id
        job = await self._submit(principal, request, key)

        async def response() -> ocr_pb2.OCRResponse:
            try:
                return await self._response(principal, job, document_id, forget=key is None)
            except ApiError as error:
                return await _refused(document_id, error)

        return response()

    async def _submit(self, principal: Principal, request: ocr_pb2.DocumentRequest, key: str | None) -> Job:
        """Create the job of a document."""
        spec = _spec(request)
        name = self._jobs.new_name(DOCUMENTS, principal, key)
        source = request.WhichOneof("source")
        if source == "document_url":
            return await self._jobs.create(
                DOCUMENTS, principal, name, {**spec, "source": {"uri": request.document_url}}
            )
        if source is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Set `content`, or `document_url`.")
        upload = await self._jobs.stage(principal, name, "document", _chunks(request.content))
        return await self._jobs.create_from_upload(DOCUMENTS, principal, name, spec, upload)

    async def _response(self, principal: Principal, job: Job, document_id: str, *, forget: bool) -> ocr_pb2.OCRResponse:
        """Wait for a job, and return its pages; when the client leaves before, it is deleted if `forget`."""
        try:
            job = await self._jobs.wait(principal, job)
        except asyncio.CancelledError:
            if forget:
                with contextlib.suppress(ApiError):
                    await self._jobs.cancel(principal, job.metadata.name)
            raise
        if not has_ended(job):
            message = f"The job has not ended yet, and goes on: ask for it at /v1/jobs/{job.metadata.name}."
            raise ApiError(ErrorCode.JOB_TIMEOUT, message)
        if state(job) == "failed":
            raise failure(job)
        data = bytearray()
        async for chunk in self._jobs.result(job):
            data += chunk
            if len(data) > MAX_RESPONSE_BYTES:
                message = f"The result is too large for gRPC: fetch it at /v1/jobs/{job.metadata.name}/result."
                raise ApiError(ErrorCode.TOO_LARGE, message)
        response = await asyncio.to_thread(_parse, bytes(data))
        response.document_id = document_id or response.document_id
        return response

    @contextlib.contextmanager
    def _place(self) -> Any:
        """Take one of the places of calls with documents.

        Raises:
            ApiError: `ServerFull`.
        """
        if self._calls >= MAX_CALLS:
            message = "The gateway receives as many documents as it can. Try again, or send it to /ocr/process."
            raise ApiError(ErrorCode.SERVER_FULL, message, retry_after=5)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


def _idempotency_key(call: DocumentCall) -> str | None:
    key = call.metadata.get(IDEMPOTENCY_KEY, "").strip()
    if len(key) > MAX_KEY_CHARS:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"An idempotency-key may have {MAX_KEY_CHARS} characters.")
    return key or None


def _spec(request: ocr_pb2.DocumentRequest) -> dict[str, Any]:
    """Return the fields of the OCRJob's spec.

    Raises:
        ApiError: `InvalidRequest`, with the names of those that are wrong; `NotSupported`.
    """
    if request.formats or request.metadata or request.max_pages:
        message = "formats, metadata and max_pages are for servers of a pool: create an OCRJob at /v1/jobs."
        raise ApiError(ErrorCode.NOT_SUPPORTED, message)
    fields = parse_fields(
        DocumentFields,
        {
            "tenant_id": request.tenant_id,
            "document_url": request.document_url,
            "languages": list(request.languages),
            "engine": _ENGINES.get(request.engine.lower(), request.engine),
            "pages": request.pages,
            "mode": request.mode.lower(),
        },
    )
    if len(request.document_id) > _MAX_DOCUMENT_ID:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"document_id may have {_MAX_DOCUMENT_ID} characters.")
    return fields.spec() | ({"documentID": request.document_id} if request.document_id else {})


def _parse(data: bytes) -> ocr_pb2.OCRResponse:
    return ocr_response(Pages.model_validate_json(data))


async def _refused(document_id: str, error: ApiError) -> ocr_pb2.OCRResponse:
    problem = ocr_pb2.Problem(code=error.status.code, message=error.message)
    return ocr_pb2.OCRResponse(document_id=document_id, error=problem)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content
