"""StreamSession: one client's live audio in, partial and final text out while it speaks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from steno_api.documents.manifest import MAX_COUNT
from steno_api.documents.warnings import MAX_SUMMARIES, WarningSummary
from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.usage import WorkRecord
from steno_api.v1alpha1.common import (
    DETECTION_RULE,
    LANGUAGE,
    ClientMetadata,
    PoolRef,
    QueueStatus,
    Results,
    SpokenLanguages,
    TenantRef,
)
from steno_api.v1alpha1.meta import ConditionedStatus, PrinterColumn, Resource, ResourceDefinition
from steno_api.v1alpha1.runtimepool import PoolOutputSpec
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat

SESSION_NAME_RULE = Rule("size(self.metadata.name) <= 63", "metadata.name must be at most 63 characters")


class SessionOutput(PoolOutputSpec):
    """Where the transcript is published: `<uri>/<namespace>/<name>/<uid>/`.

    The pool's servers publish it with the pool's credentials: `secretRef`, `endpointURL` and `region`, where given,
    must be those of the pool. With a pool that was made for another session's, the first two must be given if that one
    gave them.
    """

    uri: Annotated[
        str,
        Field(min_length=6, max_length=1024),
        Pattern(r"s3://[^/\s]+(/.*)?", "must be s3://bucket[/prefix]"),
    ]
    """`s3://bucket[/prefix]`."""
    formats: Annotated[
        list[TranscriptFormat], Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=[TranscriptFormat.JSON])
    """Formats to write; the manifest is always written."""


class StreamSessionSpec(Model):
    """How to transcribe, and where to publish the transcript."""

    rules = (
        Rule("self == oldSelf", "spec is immutable: delete the session and create another"),
        Rule(
            "!has(self.idleTimeoutSeconds) || !has(self.maxDurationSeconds)"
            " || self.idleTimeoutSeconds <= self.maxDurationSeconds",
            "idleTimeoutSeconds must not be greater than maxDurationSeconds",
            ".idleTimeoutSeconds",
        ),
        DETECTION_RULE,
    )

    pool_ref: PoolRef = PoolRef()
    """RuntimePool that serves the session; `default` is created if it does not exist."""
    meeting_id: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(default=None, alias="meetingID")
    """Your own name for the conversation; default: the resource's name."""
    language: Annotated[
        str,
        Field(min_length=2, max_length=35),
        Pattern(LANGUAGE, "must be auto or a BCP 47 language tag such as en, ko-KR or zh-Hant"),
    ] = "auto"
    """BCP 47 tag of the spoken language (a region does not matter), or `auto` to detect it."""
    languages: SpokenLanguages = Field(default=[])
    """With `language: auto`: BCP 47 tags of the only languages that may be detected; empty: all of the model's."""
    interim_results: bool = True
    """Whether partial text is sent before it is final."""
    endpointing_millis: Annotated[int, Field(ge=50, le=5000)] = 300
    """Length of the pause that ends an utterance. One that has lasted less than 8 s ends after a pause that is two
    thirds longer: what is recognised in one piece is more often right."""
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] = 7200
    """Maximum length of the session, from the first connection; also how long a session that is ready waits for its
    client."""
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """The session ends when a connected client sends no audio for this long. A client whose server was lost has this
    long, and at least 60 s, to connect to another one."""
    output: SessionOutput | None = None
    """Where the transcript is published when the session ends; absent: nowhere. A session whose transcript could not
    be published fails."""
    tenant_ref: TenantRef | None = None
    """Tenant that the session is charged to: the one that has the namespace, which need not be named. Where no Tenant
    has the namespace: any name that is not a Tenant's; default: the namespace's name."""
    metadata: Annotated[
        ClientMetadata,
        Rule(
            "self.map(key, size(key) + size(self[key])).sum() <= 768",
            "keys and values together must have at most 768 characters: the session's token holds them",
        ),
    ] = Field(default_factory=dict[str, str])
    """Free text of your own, such as a customer's number: it is in the transcript and the manifest, as `metadata`."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
    """Time from the end of the session until the resource is deleted, without its transcript; absent: never."""

    @property
    def tenant_name(self) -> str | None:
        """Name in `tenant_ref`, if given."""
        return self.tenant_ref.name if self.tenant_ref else None


class Endpoint(Model):
    """Where a client connects."""

    protocol: Literal["WebSocket", "GRPC"]
    """Protocol of the endpoint."""
    url: str
    """`ws(s)://host/stt/realtime?session=namespace/name`, or `host:port` of gRPC."""
    tls: bool = False
    """Whether the connection is encrypted: `wss://` and `https://`, or gRPC with TLS credentials."""


class SessionStats(Model):
    """Figures of a session, without any of its text."""

    audio_seconds: float = Field(default=0.0, ge=0, le=10**9, allow_inf_nan=False)
    """Seconds of audio received."""
    segments: int = Field(default=0, ge=0, le=MAX_COUNT)
    """Number of final segments so far."""
    partial_latency_millis: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """95th percentile of the time from the receipt of a window's last sample to its partial text."""
    final_latency_millis: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """95th percentile of the time from the end of speech to its final text."""
    language: Annotated[str, Field(max_length=16)] | None = None
    """ISO 639 code, given or detected."""


class PreviousServers(Model):
    """Figures counted by the earlier servers of a session, before its client connected to another one."""

    audio_seconds: float = Field(default=0.0, ge=0, le=10**9, allow_inf_nan=False)
    """Seconds of audio received."""
    segments: int = Field(default=0, ge=0, le=MAX_COUNT)
    """Number of final segments."""


SessionPhase = Literal["Pending", "Waiting", "Ready", "Active", "Succeeded", "Failed"]
"""Derived from the conditions, for people; programs read the conditions."""


class StreamSessionStatus(ConditionedStatus):
    """Observed state; written by the operator only."""

    phase: SessionPhase | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Derived from the conditions, for people; programs read the conditions."""
    endpoints: Annotated[list[Endpoint], Field(max_length=4)] = Field(default_factory=list[Endpoint])
    """Where a client connects; present while it can."""
    token_secret_name: str | None = None
    """Name of the Secret whose key `token` a client presents when it connects."""
    token_expiration_time: AwareDatetime | None = None
    """When the token expires; it is replaced before then. An open connection stays open."""
    token_key_id: str | None = Field(default=None, alias="tokenKeyID")
    """ID of the operator's key that signed the token."""
    tenant: str | None = None
    """Name of the Tenant that admitted the session: it ends when that Tenant no longer has the namespace."""
    ready_time: AwareDatetime | None = None
    """When a client could first connect."""
    start_time: AwareDatetime | None = None
    """When the client first connected."""
    connect_time: AwareDatetime | None = None
    """When the client last connected: later than `startTime` if its server was lost and it reconnected to another."""
    completion_time: AwareDatetime | None = None
    """When the session ended, whether it succeeded or failed."""
    queue: QueueStatus | None = None
    """Present while the session waits."""
    stats: SessionStats | None = None
    """Figures, without any of the text. Audio and segments include those of all servers that the client was connected
    to; a Tenant's minutes are counted from them."""
    previous_servers: PreviousServers | None = None
    """The part of `stats` counted by servers that were lost; their text was lost with them."""
    usage: WorkRecord | None = None
    """What servers did for uploads with the session's token, whatever became of them: the session's Tenant is charged
    for it as well."""
    results: Results | None = None
    """Present once the transcript is published."""
    warnings: Annotated[list[WarningSummary], Field(max_length=MAX_SUMMARIES)] | None = None
    """What was lost, doubted or guessed: one of each reason, present once the session has ended. The transcript has all
    of them, with their times."""
    pod_name: str | None = None
    """Name of the server's pod."""


class StreamSession(Resource):
    """One client's live audio in, text out while it speaks, a transcript at the end."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="StreamSession",
        plural="streamsessions",
        short_names=("ss",),
        scope="Namespaced",
        columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Audio", ".status.stats.audioSeconds", "number", "Seconds of audio received"),
            PrinterColumn(
                "Final-Latency", ".status.stats.finalLatencyMillis", "integer", "Milliseconds, 95th percentile"
            ),
            PrinterColumn("Pool", ".spec.poolRef.name"),
            PrinterColumn("URL", ".status.endpoints[0].url", wide=True),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
            PrinterColumn("Warning", ".status.warnings[0].reason", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(SESSION_NAME_RULE,),
        selectable=(".status.phase", ".spec.poolRef.name", ".spec.tenantRef.name"),
    )
    kind: Literal["StreamSession"] = "StreamSession"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: StreamSessionSpec = StreamSessionSpec()
    status: StreamSessionStatus = StreamSessionStatus()
