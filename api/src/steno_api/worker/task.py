"""Task: the configuration of one attempt of a job, as one JSON document.

It holds no secret: credentials are mounted files.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from steno_api import API_VERSION
from steno_api.model import Model, ObjectRef
from steno_api.v1alpha1.ocrjob import OCREngine, OCRMode
from steno_api.v1alpha1.runtimeprofile import MIN_SOURCE_RATE, HubDownloads
from steno_api.v1alpha1.transcriptionjob import AudioSelection, Diarization, SpeechModel


class TaskSource(Model):
    """Where the worker reads the media."""

    uri: str
    """`s3://bucket/key`, `http(s)://…`, or `pvc://claim/path` as the user wrote it; with `uri_file` `secret://name`,
    which messages and the manifest have instead of the URL."""
    uri_file: str | None = None
    """File with the `https://` URL to read."""
    path: str | None = None
    """Set for `pvc://`: the mounted file to read."""
    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None
    credentials_dir: str | None = None
    """Directory with one file per Secret key; `steno_api.credentials` has their names."""
    max_bytes: int = 5 * 1024**3
    """Larger sources fail as `TooLarge` before they are read."""
    min_bytes_per_second: int = Field(default=MIN_SOURCE_RATE, ge=0)
    """Slower sources fail as `SourceUnavailable`; 0: none does. Not for `pvc://`."""


class TaskOutput(Model):
    """Where the worker publishes."""

    uri: str
    """Final directory, `<spec.output.uri>/<namespace>/<name>/<uid>`, without a trailing slash."""
    path: str | None = None
    """Set for `pvc://`: the mounted directory that `uri` names."""
    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None
    credentials_dir: str | None = None
    formats: list[str]
    """The kind's formats, e.g. those of `TranscriptFormat`."""


class EgressRules(Model):
    """Networks (CIDR) that sources and outputs may, or may not, be on, beside the built-in rules of the runtime.

    Of the networks that hold an address, the one with the longest prefix decides.
    """

    allowed_networks: list[str] = Field(default_factory=list[str])
    denied_networks: list[str] = Field(default_factory=list[str])


class TaskReporting(Model):
    """How the worker reports progress; absent when it runs without an operator."""

    url: str
    ca: str | None = None
    """CA certificates (PEM) that an `https://` operator is verified with; absent: those of the system."""
    token_file: str
    interval_seconds: float = 5.0


class ShortSource(Model):
    """The longest source that servers of a pool work on for a job that may have a pod of its own instead."""

    audio_seconds: float = 600.0
    """Of all channels that are transcribed, together."""
    pages: int = 20


class Task(Model):
    """Fields common to the tasks of all kinds: one attempt of one job."""

    api_version: Literal["steno.dev/v1alpha1"] = API_VERSION
    job: ObjectRef
    attempt: int = Field(ge=1)
    tenant: str
    metadata: dict[str, str] = Field(default_factory=dict[str, str])
    """Free text of the job, for its document."""
    source: TaskSource
    output: TaskOutput
    egress: EgressRules = Field(default_factory=EgressRules)
    batch_divisor: int = Field(default=1, ge=1)
    """The batch size is divided by this: doubled for each attempt that ran out of memory."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    memory_mib: int | None = Field(default=None, ge=1, alias="memoryMiB")
    """GPU memory available to the worker, from the profile, for `batchSize: Auto`; absent: all of the device's."""
    model_store: str = "/models"
    """Directory of models, tried before any download."""
    model_digests: dict[str, str] = Field(default_factory=dict[str, str])
    """SHA-256 of the `SHA256SUMS` of each model that may be loaded from there, by its directory; empty: any may."""
    hub_downloads: HubDownloads = "Pinned"
    """Models that may be downloaded."""
    scratch_dir: str = "/scratch"
    """Writable directory for temporary files."""
    termination_message_path: str = "/dev/termination-log"
    reporting: TaskReporting | None = None
    only_short: ShortSource | None = None
    """Of `execution: Auto` in a pool: larger sources fail as `TooLongForPool`, and a pod of its own follows."""


class TranscriptionTask(Task):
    """What one attempt of a TranscriptionJob does."""

    kind: Literal["TranscriptionTask"] = "TranscriptionTask"
    meeting_id: str = Field(alias="meetingID")
    model: SpeechModel
    language: str = "auto"
    languages: list[str] = Field(default_factory=list[str])
    translate: bool = False
    audio: AudioSelection | None = None
    diarization: Diarization | None = None


class OCRTask(Task):
    """What one attempt of an OCRJob does; its batch is the number of pages read at a time."""

    kind: Literal["OCRTask"] = "OCRTask"
    document_id: str = Field(alias="documentID")
    languages: list[str] = Field(default_factory=list[str])
    engine: OCREngine = OCREngine.AUTO
    pages: str | None = None
    mode: OCRMode = OCRMode.SKIP


AnyTask = Annotated[TranscriptionTask | OCRTask, Field(discriminator="kind")]
"""The task of any kind."""
