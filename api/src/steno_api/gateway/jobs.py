"""Jobs over HTTP (`/v1/jobs`): what a client may say of a job, and what it learns of one.

A client's spec is a subset of the resource's, with the same names: what concerns the recording or the document. Where
it runs, with which credentials, and for how long is the gateway's; fields of that are refused, not dropped.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from steno_api.documents.warnings import WarningSummary
from steno_api.model import Model
from steno_api.v1alpha1.common import LANGUAGE, QueueStatus
from steno_api.v1alpha1.job import Stage
from steno_api.v1alpha1.ocrjob import PAGES, OCREngine, OCRMode, PageFormat
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat

Kind = Literal["TranscriptionJob", "OCRJob"]
State = Literal["queued", "running", "succeeded", "failed"]
SourceURI = Annotated[str, Field(max_length=2048, pattern=r"^((https?|s3)://[^/\s]+)?/.+$")]
"""A URL, or a path in a directory that the gateway serves."""
SpeakerCount = Annotated[int, Field(ge=1, le=64)]
Tag = Annotated[str, Field(min_length=2, max_length=35, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$")]
SpokenTag = Annotated[str, Field(min_length=2, max_length=35, pattern=rf"^({LANGUAGE})$")]
Pages = Annotated[str, Field(min_length=1, max_length=256, pattern=rf"^({PAGES})$")]
_EACH_ONCE: dict[str, JsonValue] = {"uniqueItems": True}
ClientText = Annotated[str, Field(max_length=512)]
WebhookURL = Annotated[
    str,
    Field(
        max_length=2048,
        pattern=r"^https?://(\[[0-9a-fA-F:.]+\]|[^/\s@?#:\[\]\\]+)(:[0-9]{1,5})?([/?][^\s#\\]*)?$",
        json_schema_extra={"format": "uri"},
    ),
]
"""Where a job's end is reported, without credentials in it."""


class _Asked(Model, extra="forbid", populate_by_name=False):
    """What a client says: unknown fields are refused."""


class AskedSource(_Asked, json_schema_extra={"oneOf": [{"required": ["uri"]}, {"required": ["upload"]}]}):
    """A file that the worker reads without credentials, or one that the client has uploaded."""

    uri: SourceURI | SkipJsonSchema[None] = None
    """`https://…` or `s3://…`, outside the gateway's own bucket, or a path in a directory that it serves."""
    upload: Annotated[str, Field(pattern=r"^up-[a-z2-7]{16}$")] | SkipJsonSchema[None] = None
    """`id` of an upload, for this one job."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.uri is None) == (self.upload is None):
            raise ValueError("name either uri or upload")
        return self


class AskedAudio(_Asked):
    """Which audio of a source is transcribed."""

    track: Annotated[int, Field(ge=1, le=64)] | None = None
    """Number of the audio track; absent: chosen by what they hold."""
    channels: Annotated[int, Field(ge=1, le=64)] | Literal["Mix", "Split"] = "Mix"
    """All together, each as a speaker of its own, or the number of one."""


class AskedDiarization(_Asked):
    """That speakers are identified."""

    min_speakers: SpeakerCount | None = None
    """At least this many."""
    max_speakers: SpeakerCount | None = None
    """At most this many."""


class TranscriptFormats(_Asked):
    """What is published of a transcript."""

    formats: Annotated[
        list[TranscriptFormat], Field(min_length=1, max_length=4, json_schema_extra={"uniqueItems": True})
    ]
    """Formats."""


class PageFormats(_Asked):
    """What is published of a document."""

    formats: Annotated[list[PageFormat], Field(min_length=1, max_length=4, json_schema_extra=_EACH_ONCE)]
    """Formats; `pdf` is the source with a text layer."""


class _AskedSpec(_Asked):
    metadata: (
        Annotated[dict[Annotated[str, Field(min_length=1, max_length=63)], ClientText], Field(max_length=16)] | None
    ) = None
    """Free text of your own, which the document has, too."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    """Among the waiting jobs of the tenant, higher ones start first; at most the gateway's `maxPriority`."""


class AskedTranscription(_AskedSpec):
    """Of a TranscriptionJob's spec, what a client may say."""

    meeting_id: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(default=None, alias="meetingID")
    """Your own name for the recording."""
    language: SpokenTag | None = None
    """BCP 47 tag of the spoken language, or `auto`."""
    languages: Annotated[list[Tag], Field(max_length=16, json_schema_extra=_EACH_ONCE)] | None = None
    """The only ones that may be detected; without `language`."""
    translate: bool | None = None
    """Write what is said in English."""
    audio: AskedAudio | None = None
    """Which audio; absent: chosen by what the tracks hold."""
    diarization: AskedDiarization | None = None
    """Absent: speakers are not identified. Not together with `audio.channels: Split`."""
    output: TranscriptFormats | None = None
    """Absent: JSON."""


class AskedDocument(_AskedSpec):
    """Of an OCRJob's spec, what a client may say."""

    document_id: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(default=None, alias="documentID")
    """Your own name for the document."""
    languages: Annotated[list[Tag], Field(max_length=8)] | None = None
    """Languages on the pages; absent: detected by their scripts."""
    engine: OCREngine | None = None
    """Absent: chosen for each page."""
    pages: Pages | None = None
    """Pages to read, such as `1-20,25`; absent: all."""
    mode: OCRMode | None = None
    """Treatment of pages that have text."""
    output: PageFormats | None = None
    """Absent: JSON."""


class AskedTranscriptionOf(AskedTranscription):
    """The same, of a source by its URI."""

    source: AskedSource
    """What to transcribe."""


class AskedDocumentOf(AskedDocument):
    """The same, of a source by its URI."""

    source: AskedSource
    """What to read."""


class TranscriptionRequest(_Asked):
    """A TranscriptionJob to create."""

    kind: Literal["TranscriptionJob"]
    spec: AskedTranscriptionOf
    webhook: WebhookURL | SkipJsonSchema[None] = None
    """Where its end is reported, for keys with a webhook secret."""


class DocumentRequest(_Asked):
    """An OCRJob to create."""

    kind: Literal["OCRJob"]
    spec: AskedDocumentOf
    webhook: WebhookURL | SkipJsonSchema[None] = None
    """Where its end is reported, for keys with a webhook secret."""


JobRequest = Annotated[TranscriptionRequest | DocumentRequest, Field(discriminator="kind")]
"""Body of `POST /v1/jobs`."""


class JobForm(_Asked):
    """Fields of the form of `POST /v1/jobs`, beside `file`."""

    kind: Kind
    spec: str = "{}"
    """JSON: the spec, without a source."""
    webhook: WebhookURL | SkipJsonSchema[None] = None
    """Where its end is reported, for keys with a webhook secret."""


class EndedJob(Model):
    """What a webhook says of a job: nothing of its content, nor of what the client said of it."""

    id: str
    """Of the job."""
    kind: Kind
    status: Literal["succeeded", "failed", "cancelled"]
    """`cancelled`: it was deleted before it had ended."""
    created: AwareDatetime | None = None
    """When it was created; absent for one that was deleted while no gateway ran."""
    ended: AwareDatetime | None = None
    """When it succeeded or failed."""
    error: str | None = None
    """The failure reason of one that failed."""


class JobEvent(Model):
    """Body of a webhook."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled"]
    timestamp: AwareDatetime
    """When the gateway noticed."""
    data: EndedJob


class UploadView(Model):
    """Where to put a file: one `PUT` of the whole, without the gateway's key."""

    id: str
    """To be named as `spec.source.upload` of a job."""
    url: str
    """Presigned: anyone who has it may write the file."""
    method: Literal["PUT"] = "PUT"
    """Of the request to `url`."""
    expires: AwareDatetime
    """Until when that may begin."""
    max_bytes: int
    """The largest file that may become a job."""


class JobsQuery(_Asked):
    """Query of `GET /v1/jobs`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Jobs in the answer."""
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,11}\.[a-z0-9-]{1,63}$")] | None = None
    """`next` of the page before."""
    kind: Kind | None = None
    """Only of this kind."""
    status: State | None = None
    """Only those that are in this state."""


class JobError(Model):
    """Why a job failed."""

    code: str
    """A failure reason, for programs."""
    message: str
    """What is wrong and what to do."""


class JobView(Model):
    """A job, as its client sees it."""

    id: str
    """Its name in the cluster, too."""
    kind: Kind
    status: State
    created: AwareDatetime
    """When it was created."""
    ended: AwareDatetime | None = None
    """When it succeeded or failed."""
    stage: Stage | None = None
    """What the worker is doing."""
    progress: Annotated[float, Field(ge=0, le=1)]
    """Part of the work that is done."""
    queue: QueueStatus | None = None
    """Why it waits."""
    metadata: dict[str, str] | None = None
    """What the client said."""
    formats: list[str] | None = None
    """Documents that can be asked for."""
    summary: dict[str, JsonValue] | None = None
    """Figures of the document, as in the resource's status."""
    warnings: list[WarningSummary] | None = None
    """What was lost, doubted or guessed."""
    error: JobError | None = None
    """Why it failed."""


class JobPage(Model):
    """Jobs, the newest first."""

    jobs: list[JobView]
    next: str | None = None
    """Cursor of the next page; absent on the last one."""
