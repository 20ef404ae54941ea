"""OpenAPI descriptions of the endpoints, from which clients are generated.

They only describe: the requests themselves are parsed by hand, once whoever sends them was admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fastapi import FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, TypeAdapter

from steno_api.gateway.openai import ErrorEnvelope
from steno_gateway.transports.http import PROBLEM

_COMPONENTS = "#/components/schemas/{model}"
_CREDENTIALS = [
    Security(HTTPBearer(scheme_name="bearer", description="An API key, or a JWT.", auto_error=False)),
    Security(APIKeyHeader(name="X-API-Key", scheme_name="apiKey", description="An API key.", auto_error=False)),
]
_EVERYWHERE = (400, 401, 403, 429, 500, 503)
"""Errors that any request may be answered with."""
_TAKES = (404, 408, 413, 415, 422, 501, 502, 504)
"""Errors of requests whose work may fail, beside these."""
BINARY: dict[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}


class Problem(BaseModel):
    """Why a request was rejected (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """For people: what is wrong and what to do."""
    code: str
    """Stable, for programs."""


class Health(BaseModel):
    """Whether the gateway is ready."""

    status: Literal["ok", "loading"]
    version: str


class Limits(BaseModel):
    """What a request may have."""

    max_upload_bytes: int


class SpeechStatus(BaseModel):
    """The model and the limits."""

    ready: bool
    model: str
    tenant: str
    limits: Limits


class Accepted(BaseModel):
    """A job that has not ended, and where to ask for it."""

    job_id: str
    status: Literal["queued", "running", "succeeded", "failed"]
    status_url: str


class FailedWork(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class WorkState(BaseModel):
    """A job of the original REST."""

    job_id: str
    status: Literal["queued", "running", "succeeded", "failed"]
    stage: str | None
    progress: float
    """0 to 1."""
    error: FailedWork | None = None
    result: dict[str, Any] | None = None
    """The document, once `status` is `succeeded`."""


IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255},
    "description": "The same key and content find the job that is there.",
}  # fmt: skip
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "contentMediaType": "application/json"}},
    "required": ["data"],
}
"""A server-sent event."""
LATER: dict[str, Any] = {
    "name": "async", "in": "query", "schema": {"type": "boolean", "default": False},
    "description": "Answer at once with 202 and a `job_id`.",
}  # fmt: skip


def describe(
    summary: str,
    result: type[BaseModel] | Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    later: type[BaseModel] | None = None,
    errors: Iterable[int] = (),
    credentials: bool = True,
    openai: bool = False,
    parameters: Iterable[dict[str, Any]] = (),
    body: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the description of a route, as arguments of `FastAPI.add_api_route`.

    Args:
        summary: one line.
        result: model of the answer, or schemas by media type; None: it has no body.
        status: of the answer.
        later: model of a 202 beside it.
        errors: statuses of errors, beside those of every request.
        credentials: whether a key is needed.
        openai: whether errors have OpenAI's form.
        parameters: that are not in the path.
        body: schemas of the request by media type.
    """
    described: dict[str, Any] = {"summary": summary, "status_code": status, "response_model": None}
    answer: dict[str, Any] = {"description": "Done"}
    if isinstance(result, type):
        answer["model"] = result
    elif result is not None:
        answer["content"] = {media_type: {"schema": schema} for media_type, schema in result.items()}
    responses: dict[int | str, dict[str, Any]] = {status: answer}
    if later is not None:
        responses[202] = {"model": later, "description": "Not ended yet"}
    if credentials:
        described["dependencies"] = _CREDENTIALS
        error = _error(openai=openai)
        responses |= dict.fromkeys((*_EVERYWHERE, *(_TAKES if body else ()), *errors), error)
        responses["default"] = error
    described["responses"] = responses
    extra: dict[str, Any] = {"parameters": list(parameters)}
    if body is not None:
        content = {media_type: {"schema": schema} for media_type, schema in body.items()}
        extra["requestBody"] = {"required": True, "content": content}
    return {**described, "openapi_extra": extra}


def schema_of(shape: Any) -> dict[str, Any]:
    """Return the schema of a model or of a union of models."""
    return TypeAdapter(shape).json_schema(ref_template=_COMPONENTS)


def form_of(fields: type[BaseModel], **changed: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a form with a `file`, which has only texts: a list is separated by commas.

    Args:
        fields: the other fields.
        changed: schemas of some of them.
    """
    schema = schema_of(fields)
    for name, field in schema["properties"].items():
        if field.get("type") == "array":
            description = f"{field.get('description', '')} Separated by commas.".strip()
            schema["properties"][name] = {"type": "string", "title": field["title"], "description": description}
        else:
            schema["properties"][name] = _without_null(field)
    schema["properties"] = {"file": BINARY, **schema["properties"], **changed}
    schema["required"] = ["file", *schema.get("required", ())]
    return schema


def query_of(fields: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the parameters of a query."""
    return [
        {"name": name, "in": "query", "schema": _without_null(field)}
        for name, field in schema_of(fields)["properties"].items()
    ]


def complete(app: FastAPI) -> None:
    """Make the application's schema once it is asked for, with the shapes that only requests name."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for operation in (each for path in document["paths"].values() for each in path.values()):
                for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                    for content in part.get("content", {}).values():
                        schemas |= content["schema"].pop("$defs", {})
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _error(*, openai: bool) -> dict[str, Any]:
    if openai:
        return {"model": ErrorEnvelope, "description": "Rejected"}
    return {"description": "Rejected", "content": {PROBLEM: {"schema": schema_of(Problem)}}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what is text on the way: absent, not null."""
    kinds = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if len(kinds) == 1:
        rest.pop("anyOf")
        return {**rest, **kinds[0]}
    return rest
