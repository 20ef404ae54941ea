"""OpenAI's audio API: `/v1/audio/transcriptions`, `/v1/audio/translations` and `/v1/models`, for unchanged SDKs.

A request becomes a TranscriptionJob. What of it has no effect is named in the answer's `X-Steno-Ignored`; what would
change the meaning of the answer is refused. docs/openai.md has the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from steno_api.documents.transcript import Transcript
from steno_api.gateway import openai
from steno_api.gateway.api_keys import Scope
from steno_api.gateway.jobs import SpokenTag, Tag
from steno_api.server.errors import ApiError, ErrorCode, ErrorStatus
from steno_gateway.access.access import Access
from steno_gateway.access.principal import Principal
from steno_gateway.settings import Settings
from steno_gateway.transports.http import NO_STORE, admitted, problem
from steno_gateway.transports.intake import HEARTBEAT_SECONDS, EventStream, Intake, begun, idempotency_key
from steno_gateway.transports.openapi import EVENT, IDEMPOTENCY_KEY, describe, form_of, schema_of
from steno_gateway.work.job_kinds import SPEECH, Job, failure, has_ended
from steno_gateway.work.jobs import JobService

PATHS = ("/v1/audio/", "/v1/models")
"""Where errors have OpenAI's form."""
ALIASES = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
"""OpenAI's names, which all mean the gateway's model; dated ones, too."""
MODEL_NOT_FOUND = ErrorStatus("model_not_found", 404, 1007, "NOT_FOUND")
"""OpenAI's own code, which clients ask for."""
IGNORED = "X-Steno-Ignored"
_NO_RETRY = {"X-Should-Retry": "false"}
"""Tells OpenAI's SDKs not to send a request again: its job exists, and another would be paid again."""
_SUBTITLES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
_STREAMED = ("json", "text", "diarized_json")
_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def _split(given: Any) -> Any:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


class TranscriptionFields(BaseModel):
    """Fields of the form of a transcription, beside `file`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=253)]
    """`whisper-1`, `gpt-4o-transcribe` and its relatives, or the gateway's own: they all mean the gateway's model."""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    language: SpokenTag | None = None
    """Of the speech, as a BCP 47 tag; absent: detected."""
    languages: Annotated[list[Tag], Field(max_length=16), BeforeValidator(_split)] = []
    """The only ones that may be detected."""
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], BeforeValidator(_split)] = []
    """For `verbose_json`; default: segments."""
    stream: bool = False
    """Answer with server-sent events, for `json`, `text` and `diarized_json`."""
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Anything but 0 is ignored."""
    chunking_strategy: str = "auto"
    """Anything but `auto` is ignored."""
    prompt: str | None = None
    """Ignored."""
    keywords: Annotated[list[str], BeforeValidator(_split)] = []
    """Ignored."""

    @property
    def translated(self) -> bool:
        """Whether the answer is a translation."""
        return False

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that were given and have no effect."""
        known = {
            "prompt": self.prompt is not None,
            "keywords": bool(self.keywords),
            "temperature": self.temperature != 0,
            "chunking_strategy": self.chunking_strategy != "auto",
        }
        # Names of the client's own are not all fit for a header.
        unknown = [name for name in self.model_extra or {} if re.fullmatch(r"\w{1,64}", name, re.ASCII)]
        return [*(name for name, given in known.items() if given), *sorted(unknown)[:16]]

    def spec(self) -> dict[str, Any]:
        """Return the fields of the TranscriptionJob's spec."""
        formats = ["json", *([self.response_format] if self.response_format in _SUBTITLES else [])]
        spec: dict[str, Any] = {"output": {"formats": formats}, "languages": self.languages}
        if self.language is not None:
            spec["language"] = self.language
        if self.response_format == "diarized_json":
            spec["diarization"] = {}
        return spec | ({"translate": True} if self.translated else {})


class TranslationFields(TranscriptionFields):
    """Fields of the form of a translation: a transcription in English, without speakers or streams."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen

    @property
    def translated(self) -> bool:
        """Whether the answer is a translation."""
        return True


class OpenAIError(ApiError):
    """An error of one parameter.

    Attributes:
        param: its name.
    """

    def __init__(self, code: ErrorCode | ErrorStatus, message: str, param: str) -> None:
        super().__init__(code, message)
        self.param = param


class OpenAIRest:
    """The handlers."""

    def __init__(self, settings: Settings, access: Access, jobs: JobService) -> None:
        self._access = access
        self._jobs = jobs
        self._intake = Intake(settings, jobs)
        self._models = model_names(settings)

    def add_routes(self, app: FastAPI) -> None:
        """Add the routes, with their descriptions."""
        json_shapes = openai.Transcription | openai.VerboseTranscription | openai.DiarizedTranscription
        texts = {media_type: {"type": "string"} for media_type in ("text/plain", *_SUBTITLES.values())}
        transcribe = describe(
            "Transcribe a recording",
            {"application/json": schema_of(json_shapes), **texts, "text/event-stream": EVENT},
            openai=True,
            parameters=[IDEMPOTENCY_KEY],
            body={"multipart/form-data": form_of(TranscriptionFields)},
        )
        translate = describe(
            "Translate a recording into English",
            {"application/json": schema_of(openai.Transcription | openai.VerboseTranscription), **texts},
            openai=True,
            parameters=[IDEMPOTENCY_KEY],
            body={"multipart/form-data": form_of(TranslationFields)},
        )
        models = describe("The models that requests may name", openai.SpeechModelList, openai=True)
        model = describe("A model", openai.SpeechModelEntry, openai=True, errors=[404])
        app.post("/v1/audio/transcriptions", response_class=Response, **transcribe)(self.transcribe)
        app.post("/v1/audio/translations", response_class=Response, **translate)(self.translate)
        app.get("/v1/models", **models)(self.models)
        app.get("/v1/models/{model:path}", **model)(self.model)

    async def transcribe(self, request: Request) -> Response:
        """`POST /v1/audio/transcriptions`."""
        return await self._run(request, TranscriptionFields)

    async def translate(self, request: Request) -> Response:
        """`POST /v1/audio/translations`."""
        return await self._run(request, TranslationFields)

    async def _run(self, request: Request, fields: type[TranscriptionFields]) -> Response:
        async with contextlib.AsyncExitStack() as held:
            principal = await held.enter_async_context(admitted(self._access, request, Scope.STT))
            name = self._jobs.new_name(SPEECH, principal, idempotency_key(request))
            async with self._intake.received(request, principal, name) as (form, upload):
                asked = self._parse(fields, form)
            job = await self._jobs.create_from_upload(SPEECH, principal, name, asked.spec(), upload)
            request.state.job_id = name
            headers = {"X-Job-ID": name, **({IGNORED: ", ".join(asked.ignored)} if asked.ignored else {})}
            if asked.stream:
                return self._stream(request, principal, job, asked, held=held.pop_all(), headers=headers)
            job = await self._intake.wait(request, principal, job)
            if not has_ended(job):
                message = f"The job has not ended yet, and goes on: ask for it at /v1/jobs/{name}."
                raise ApiError(ErrorCode.JOB_TIMEOUT, message)
            return await self._answer(job, asked, {**NO_STORE, **headers})

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        async with admitted(self._access, request, Scope.STT):
            found = openai.SpeechModelList(data=[openai.SpeechModelEntry(id=name) for name in self._models])
            return JSONResponse(found.model_dump())

    async def model(self, request: Request, model: str) -> Response:
        """`GET /v1/models/{model}`."""
        async with admitted(self._access, request, Scope.STT):
            self._require(model)
            return JSONResponse(openai.SpeechModelEntry(id=model).model_dump())

    def _parse(self, fields: type[TranscriptionFields], form: Mapping[str, str]) -> TranscriptionFields:
        """Read the fields.

        Raises:
            OpenAIError: `InvalidRequest`, `NotSupported`, `model_not_found`.
        """
        given = {name.partition("[")[0]: value for name, value in form.items() if value != ""}
        for name in ("include", "known_speaker_names", "known_speaker_references"):
            if name in given:
                message = f"{name} is not supported by this server: leave it out."
                raise OpenAIError(ErrorCode.NOT_SUPPORTED, message, name)
        try:
            asked = fields.model_validate(given)
        except ValidationError as error:
            name = str(error.errors(include_input=False)[0]["loc"][0])
            message = f"{name} is {'missing' if name not in given else 'no value that this server knows'}."
            raise OpenAIError(ErrorCode.INVALID_REQUEST, message, name) from None
        self._require(asked.model)
        if asked.timestamp_granularities and asked.response_format != "verbose_json":
            message = "timestamp_granularities is for response_format=verbose_json only."
            raise OpenAIError(ErrorCode.INVALID_REQUEST, message, "timestamp_granularities")
        if asked.stream and (asked.translated or asked.response_format not in _STREAMED):
            message = f"stream is for transcriptions in the formats {', '.join(_STREAMED)}."
            raise OpenAIError(ErrorCode.INVALID_REQUEST, message, "stream")
        if asked.language is not None and asked.languages:
            message = "languages restricts what is detected: leave language out, or leave languages out."
            raise OpenAIError(ErrorCode.INVALID_REQUEST, message, "languages")
        return asked

    def _require(self, model: str) -> None:
        """Check that a model is the gateway's, by one of its names.

        Raises:
            OpenAIError: `model_not_found`.
        """
        require_model(model, self._models)

    async def _answer(self, job: Job, asked: TranscriptionFields, headers: Mapping[str, str]) -> Response:
        media_type = _SUBTITLES.get(asked.response_format)
        if media_type is not None:
            subtitles = await begun(_result(self._jobs, job, asked.response_format))
            return StreamingResponse(subtitles, 200, headers, f"{media_type}; charset=utf-8")
        document = await self._document(job)
        if asked.response_format == "text":
            return PlainTextResponse(document.transcript + "\n", headers=dict(headers))
        return Response(_body(document, asked), 200, headers, "application/json")

    def _stream(
        self,
        request: Request,
        principal: Principal,
        job: Job,
        asked: TranscriptionFields,
        *,
        held: contextlib.AsyncExitStack,
        headers: Mapping[str, str],
    ) -> Response:
        latest = job

        async def events() -> AsyncIterator[bytes]:
            nonlocal latest
            try:
                async for found in self._jobs.changes(principal, job, HEARTBEAT_SECONDS):
                    latest = found or latest
                    yield KEEPALIVE_COMMENT
                document = await self._document(latest)
            except ApiError as error:
                yield format_sse_event(data_str=json.dumps(envelope(error).model_dump()))
                return
            for each in openai.events(document, with_speakers=asked.response_format == "diarized_json"):
                yield format_sse_event(data_str=each.model_dump_json(exclude_none=True))

        async def after() -> None:
            if not has_ended(latest):
                await self._intake.abandon(request, principal, latest)

        return EventStream(events(), held, after=after, headers=headers)

    async def _document(self, job: Job) -> Transcript:
        data = b"".join([chunk async for chunk in _result(self._jobs, job, "json")])
        # Hours of speech are tens of megabytes.
        return await asyncio.to_thread(Transcript.model_validate_json, data)


def model_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the gateway's model: its own, then OpenAI's."""
    own = str(settings.transcription.get("model", {}).get("name", "large-v3"))
    return tuple(dict.fromkeys((own, *ALIASES)))


def require_model(model: str, names: Collection[str]) -> None:
    """Check that a model is the gateway's, by one of its names.

    Raises:
        OpenAIError: `model_not_found`.
    """
    if model not in names and not re.fullmatch(r"gpt-4o(-mini)?-transcribe[a-z0-9-]*", model):
        message = f"This server has no such model. It has: {', '.join(names)}."
        raise OpenAIError(MODEL_NOT_FOUND, message, "model")


def _result(jobs: JobService, job: Job, artifact: str) -> AsyncIterator[bytes]:
    """Return a document of a job that has ended.

    Raises:
        ApiError: why there is none.
    """
    if job.status.results is None:
        raise failure(job)
    return jobs.result(job, artifact)


def _body(document: Transcript, asked: TranscriptionFields) -> str:
    if asked.response_format == "diarized_json":
        return openai.diarized(document).model_dump_json()
    if asked.response_format == "verbose_json":
        granularities: Collection[str] = asked.timestamp_granularities or ("segment",)
        return openai.verbose(document, granularities, translated=asked.translated).model_dump_json(exclude_none=True)
    return openai.transcription(document).model_dump_json()


def envelope(error: ApiError) -> openai.ErrorEnvelope:
    """Return an error in OpenAI's form."""
    status = error.status.http
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    param = error.param if isinstance(error, OpenAIError) else None
    return openai.ErrorEnvelope.model_validate(
        {"error": {"message": error.message, "type": kind, "param": param, "code": error.status.code}}
    )


def openai_error(request: Request, error: ApiError) -> Response:
    """Answer with an error in OpenAI's form, and the headers that every protocol has."""
    headers = {name: value for name, value in problem(error).headers.items() if not name.startswith("content-")}
    if hasattr(request.state, "job_id") and error.status.http >= HTTPStatus.INTERNAL_SERVER_ERROR:
        headers |= {"X-Job-ID": request.state.job_id, **_NO_RETRY}
    return JSONResponse(envelope(error).model_dump(), error.status.http, headers)
