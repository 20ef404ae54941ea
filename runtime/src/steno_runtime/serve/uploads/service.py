"""What the REST endpoints of speech and documents have in common: who asks, and how a job is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from steno_api.server.claims import SessionClaims
from steno_runtime.serve.auth import Access, bearer
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.serve.sessions.registry import Registry
from steno_runtime.serve.uploads.job_queue import Job, Jobs

_POLL_SECONDS = 1.0

Name = Annotated[str, Field(max_length=512)]
T = TypeVar("T", bound=BaseModel)


class Wish(BaseModel):
    """The fields that all of these requests know; unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant_id: Name | None = None
    user_id: Name | None = None


@dataclass(frozen=True)
class Desk:
    """Takes requests in."""

    access: Access
    registry: Registry
    jobs: Jobs

    def claims(self, request: Request) -> SessionClaims:
        """Returns who asks; nothing of the body is read for that.

        Raises:
            Refusal: the token's, or `SessionEnded`.
        """
        claims = self.access.claims(bearer(request.headers.get("authorization")))
        if self.registry.ended(claims.uid):
            raise Refusal(Code.SESSION_ENDED, "The token's session has ended. Create another StreamSession.")
        return claims

    def admit(self, request: Request) -> SessionClaims:
        """As `claims`, and a job would be taken.

        Raises:
            Refusal: as above, `NotReady`, `Draining` or `QueueFull`.
        """
        claims = self.claims(request)
        self.registry.check_open()
        self.jobs.check_room()
        return claims

    async def answer(self, request: Request, job: Job) -> Response:
        """Answers with the result, or with 202 where `?async=true` was asked for."""
        if request.query_params.get("async", "").lower() in ("1", "true", "yes"):
            url = f"/status/{job.id}"
            told = {"job_id": job.id, "status": "queued", "status_url": url}
            return JSONResponse(told, 202, {"Location": url, "Cache-Control": "no-store"})
        await self.wait(request, job)
        return FileResponse(job.outcome(), media_type="application/json", headers={"Cache-Control": "no-store"})

    async def wait(self, request: Request, job: Job) -> None:
        """Waits for a job; who has hung up wants it no more."""
        while not job.done.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await job.done.wait()
            if not job.done.is_set() and await request.is_disconnected():
                self.jobs.discard(job)
                raise Refusal(Code.INVALID_REQUEST, "The client has hung up.")

    async def status(self, request: Request, job_id: str) -> Response:
        """`GET /status/{job_id}`."""
        claims = self.claims(request)
        job = self.jobs.get(job_id, None if self.access.open else claims.tenant)
        told = job.told()
        if job.result is not None:
            told["result"] = json.loads(await asyncio.to_thread(job.result.read_bytes))
        return JSONResponse(told, headers={"Cache-Control": "no-store"})


def read(model: type[T], fields: dict[str, Any]) -> T:
    """Reads a request's fields.

    Raises:
        Refusal: `InvalidRequest`, with the names of those that are wrong.
    """
    try:
        return TypeAdapter(model).validate_python({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) if item["loc"] else "body" for item in error.errors(include_input=False)})
        raise Refusal(Code.INVALID_REQUEST, f"Missing, or of a wrong value: {', '.join(names)}.") from None
