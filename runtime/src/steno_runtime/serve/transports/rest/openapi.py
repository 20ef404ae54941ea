"""What `/openapi.json` says of the endpoints: clients are generated from it.

It only describes: the requests themselves are read by hand, once their token is known to be good.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from steno_api.v1alpha1.job import Stage
from steno_runtime.serve.uploads.service import Wish


class Problem(BaseModel):
    """Why a request was refused (RFC 9457, `application/problem+json`)."""

    type: str
    title: str
    status: int
    detail: str
    """For people: what is wrong and what to do."""
    code: str
    """Stable, for programs."""


class Queued(BaseModel):
    """Work that was taken in, and where to ask for it."""

    job_id: str
    status: Literal["queued"]
    status_url: str


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


class JobState(BaseModel):
    """A job of `?async=true`."""

    job_id: str
    kind: Literal["stt", "ocr"]
    status: Literal["queued", "running", "succeeded", "failed"]
    progress: float
    """0 to 1."""
    stage: Stage | None = None
    error: JobError | None = None
    result: dict[str, Any] | None = None
    """The document, once `status` is `succeeded`."""


def described(summary: str, result: type[BaseModel] | None = None, *, token: bool = True) -> dict[str, Any]:
    """Returns how a route is described, as arguments of `FastAPI.add_api_route`."""
    responses: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "Refused"}}
    if result is not None:
        responses[200] = {"model": result}
    guard = [Security(HTTPBearer(scheme_name="token", description="The token of a StreamSession.", auto_error=False))]
    return {"summary": summary, "responses": responses, "dependencies": guard if token else []}


def work(
    summary: str,
    result: type[BaseModel],
    *,
    form: type[Wish] | None = None,
    json: type[Wish] | None = None,
) -> dict[str, Any]:
    """As `described`, for what is sent a form with a file or a JSON object, and may be answered later."""
    told = described(summary, result)
    told["responses"][202] = {"model": Queued, "description": "Asked for with `?async=true`"}
    content: dict[str, Any] = {}
    if form is not None:
        content["multipart/form-data"] = {"schema": _form(form)}
    if json is not None:
        content["application/json"] = {"schema": json.model_json_schema()}
    later = {
        "name": "async",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Answer at once with 202 and a `job_id`.",
    }
    told["openapi_extra"] = {"requestBody": {"required": True, "content": content}, "parameters": [later]}
    return told


def _form(fields: type[Wish]) -> dict[str, Any]:
    """A form has texts only: a list's parts stand between commas."""
    schema = fields.model_json_schema()
    for name, field in schema["properties"].items():
        if field.get("type") == "array":
            schema["properties"][name] = {
                "type": "string",
                "title": field["title"],
                "description": "Separated by commas.",
            }
    schema["properties"]["file"] = {"type": "string", "contentMediaType": "application/octet-stream"}
    schema["required"] = [*schema.get("required", ()), "file"]
    return schema
