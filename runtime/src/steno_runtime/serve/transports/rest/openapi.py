"""OpenAPI descriptions of the endpoints, from which clients are generated.

They only describe: the requests themselves are parsed by hand, once their token has been verified.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from steno_api.v1alpha1.job import Stage
from steno_runtime.serve.uploads.service import RequestFields


class Problem(BaseModel):
    """Why a request was rejected (RFC 9457, `application/problem+json`)."""

    type: str
    title: str
    status: int
    detail: str
    """For people: what is wrong and what to do."""
    code: str
    """Stable, for programs."""


class Queued(BaseModel):
    """A job that was accepted, and where to ask for it."""

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


def describe(summary: str, result: type[BaseModel] | None = None, *, token: bool = True) -> dict[str, Any]:
    """Return the description of a route, as arguments of `FastAPI.add_api_route`.

    Args:
        summary: one line.
        result: model of the answer.
        token: whether a token is needed.
    """
    responses: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "Rejected"}}
    if result is not None:
        responses[200] = {"model": result}
    guard = [Security(HTTPBearer(scheme_name="token", description="The token of a StreamSession.", auto_error=False))]
    return {"summary": summary, "responses": responses, "dependencies": guard if token else []}


def describe_upload(
    summary: str,
    result: type[BaseModel],
    *,
    form: type[RequestFields] | None = None,
    json: type[RequestFields] | None = None,
) -> dict[str, Any]:
    """Return the description of a route that takes work, and may answer later.

    Args:
        summary: one line.
        result: model of the answer.
        form: the fields of a multipart form with a file, if it takes one.
        json: the JSON object that it takes, if it does.
    """
    described = describe(summary, result)
    described["responses"][202] = {"model": Queued, "description": "Asked for with `?async=true`"}
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
    described["openapi_extra"] = {"requestBody": {"required": True, "content": content}, "parameters": [later]}
    return described


def _form(fields: type[RequestFields]) -> dict[str, Any]:
    """Return the schema of a form, which has only texts: a list is separated by commas."""
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
