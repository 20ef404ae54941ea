"""RuntimePool: the warm servers that serve StreamSessions, and make attempts of jobs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.v1alpha1.common import EndpointURL, ProfileRef, Region, SecretRef, TenantRef
from steno_api.v1alpha1.meta import ConditionedStatus, PrinterColumn, Resource, ResourceDefinition, Scale
from steno_api.v1alpha1.runtimeprofile import LABEL_KEYS
from steno_api.v1alpha1.transcriptionjob import SpeechModel

POOL_NAME_RULES = (
    Rule(
        "size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 50 lower-case letters, digits and '-', and begin with a letter:"
        " the Service is named <name>-pool",
    ),
)

NodePort = Annotated[int, Field(ge=1, le=65535)]


class PoolOutputSpec(Model):
    """How the servers access the object store that their sessions' transcripts are published to."""

    secret_ref: SecretRef | None = None
    """S3 credentials, with the keys of a job's `source.secretRef`; absent: the pod's own identity."""
    endpoint_url: EndpointURL | None = Field(default=None, alias="endpointURL")
    """S3 endpoint, for stores other than AWS."""
    region: Region | None = None
    """S3 region."""


class PoolService(Model):
    """The Service in front of the servers."""

    rules = (
        Rule(
            "!has(self.type) || self.type != 'ClusterIP' || !has(self.httpNodePort) && !has(self.grpcNodePort)",
            "httpNodePort and grpcNodePort are for type NodePort and LoadBalancer only",
            ".type",
        ),
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service. `NodePort` and `LoadBalancer` lead out of the cluster: they need `tls` or
    `allowPlaintext`."""
    allow_plaintext: bool = False
    """Let a Service that leads out of the cluster carry tokens, audio and text unencrypted. Only for networks on which
    no one can listen, and for load balancers that add TLS."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), LABEL_KEYS] = Field(
        default_factory=dict[str, str]
    )
    """Annotations of the Service, e.g. those of a load balancer."""
    http_node_port: NodePort | None = None
    """Node port of HTTP and WebSocket; absent: assigned by Kubernetes."""
    grpc_node_port: NodePort | None = None
    """Node port of gRPC; absent: assigned by Kubernetes."""


class PoolEndpoints(Model):
    """Where clients reach the pool: an Ingress, a Gateway, a load balancer or a node port."""

    websocket_url: (
        Annotated[
            str,
            Field(min_length=6, max_length=512),
            Pattern(r"wss?://[^/\s@?#]+(/[^\s?#]*[^\s?#/])?", "must be a URL such as wss://stt.example.com"),
        ]
        | None
    ) = Field(default=None, alias="websocketURL")
    """`ws://` or `wss://` and the host, without the path `/stt/realtime`; absent: the Service's name in the cluster."""
    grpc_url: (
        Annotated[
            str,
            Field(min_length=3, max_length=512),
            Pattern(r"[^/\s@?#:]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}", "must be host:port"),
        ]
        | None
    ) = Field(default=None, alias="grpcURL")
    """`host:port`; absent: the Service's name in the cluster."""
    grpc_tls: bool | None = Field(default=None, alias="grpcTLS")
    """Whether `grpcURL` is reached over TLS; default: if `websocketURL` is `wss://`, or, without one, with `tls`."""


class PoolTLS(Model):
    """The certificate of the servers' ports."""

    secret_ref: SecretRef
    """Secret of type `kubernetes.io/tls`: `tls.crt` with the whole chain, and `tls.key` without a password. Servers
    take a new certificate within about a minute, and keep their sessions."""


class UnauthenticatedLimits(Model):
    """What clients without a valid token may use of one server.

    Where there is no room for another, the one of the busiest address that has waited longest is dropped, so that
    clients that send their token at once always get in.
    """

    connections: Annotated[int, Field(ge=8, le=100_000)] = 256
    """Connections that are open at a time and have not sent a token yet, of HTTP and WebSocket, and again of gRPC."""
    connections_per_address: Annotated[int, Field(ge=4, le=100_000)] = 128
    """Those of one address. All clients that come through a proxy, or through a Service that hides their addresses,
    share one."""
    requests_per_second: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Requests and calls of one address without a valid token, in the long run; those of ten seconds may come at
    once. Further ones are refused (`ServerFull`) or delayed."""


class PoolQueueSpec(Model):
    """What jobs with `execution: Pool` or `Auto` may use of the servers."""

    secret_refs: Annotated[
        list[SecretRef],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(default_factory=list[SecretRef])
    """Secrets of the namespace that jobs may name in `source.secretRef` and `output.secretRef`: the servers mount the
    keys that such a Secret has for Steno, and no others."""


Workload = Literal["Streams", "Queue"]
"""What a pool's servers do."""


class RuntimePoolSpec(Model):
    """What the servers are, and how many.

    A change of anything but the numbers replaces the servers one by one: their sessions end with reason `Drained`,
    and everything said until then is published.
    """

    rules = (
        # The apiserver applies these to the default `{}` as well, before it fills in the defaults of its fields.
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be greater than maxReplicas",
            ".minReplicas",
        ),
        Rule(
            "!has(self.replicas) || !has(self.maxReplicas) || self.replicas <= self.maxReplicas",
            "replicas must not be greater than maxReplicas: raise maxReplicas first",
            ".replicas",
        ),
        Rule(
            "has(self.tls) || !has(self.service) || !has(self.service.type) || self.service.type == 'ClusterIP'"
            " || has(self.service.allowPlaintext) && self.service.allowPlaintext",
            "service.type NodePort and LoadBalancer lead out of the cluster, where tokens and audio must not be in"
            " plain text: set tls.secretRef, or service.allowPlaintext: true if something else encrypts or no one can"
            " listen",
            ".service.type",
        ),
        Rule(
            "!has(self.queue) || has(self.workloads) && self.workloads.exists(each, each == 'Queue')",
            "queue is for pools whose workloads include Queue",
            ".queue",
        ),
    )

    profile_ref: ProfileRef = ProfileRef()
    """RuntimeProfile: what each server's pod requests."""
    model: SpeechModel = SpeechModel()
    """The speech model, loaded once per server."""
    workloads: Annotated[
        list[Workload], Field(min_length=1, max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=["Streams"])
    """What the servers do. `Streams`: live sessions. `Queue`: attempts of jobs with `execution: Pool` or `Auto`, two at
    a time by each server, and more of recordings of up to a minute; that needs a queue server, which the operator is
    configured with. Sessions go first: attempts use what they leave. Servers without `Streams` decode on all CPU cores
    side by side."""
    queue: PoolQueueSpec | None = None
    """What jobs may use; only with `Queue` in `workloads`."""
    tenant_ref: TenantRef | None = None
    """Value of the label `steno.dev/tenant` of the servers' pods, for metering; default: the namespace's name, even if
    a Tenant has the namespace. It has no effect on limits: the Tenant that has the namespace limits both the sessions
    of the pool and the accelerators of its servers."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    """Number of servers that are kept warm without any session or job."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Maximum number of servers. Sessions beyond `maxReplicas` times `sessionsPerReplica` wait."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Exact number of servers, as set by `kubectl scale` or an autoscaler; absent: as many as open sessions and queued
    jobs need."""
    sessions_per_replica: Annotated[int, Field(ge=1, le=1000)] = 16
    """Maximum number of sessions of one server at a time."""
    scale_down_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Time from the end of the last session or job until the servers beyond `minReplicas` are removed. None is removed
    while a session is open or a job is in the queue."""
    output: PoolOutputSpec | None = None
    """Object store and credentials with which the servers publish transcripts; absent: they publish nothing."""
    allowed_sources: Annotated[
        list[
            Annotated[
                str,
                Field(min_length=8, max_length=512),
                Pattern(
                    r"(https?://[^/\s@]+|s3://[a-z0-9][a-z0-9.-]+)(/[^\s]*)?",
                    "must be a URL prefix such as https://media.example.com/ or s3://bucket/prefix",
                ),
            ]
        ],
        Field(max_length=32),
    ] = Field(default_factory=list[str])
    """URL prefixes that `POST /stt/process` and `/ocr/process` may fetch, `s3://` with the credentials of `output`;
    empty: none."""
    max_document_pages: Annotated[int, Field(ge=1, le=5_000)] = 200
    """Maximum number of pages that the servers read of one document; larger documents are refused (`TooLarge`): create
    an OCRJob for them, or name fewer pages."""
    unauthenticated: UnauthenticatedLimits = UnauthenticatedLimits()
    """What clients without a valid token may use of each server."""
    grpc_reflection: bool = False
    """Whether the servers list their gRPC services to clients with a token (server reflection)."""
    tls: PoolTLS | None = None
    """Serve WebSocket, REST (port 8080) and gRPC (port 9090) over TLS only; absent: in plain text, for an Ingress or a
    service mesh that adds TLS. The certificate has to name the host of `endpoints`, or that of the Service,
    `<name>-pool.<namespace>.svc`."""
    service: PoolService = PoolService()
    """The Service in front of the servers."""
    endpoints: PoolEndpoints | None = None
    """Addresses for clients outside the cluster; absent: the Service's name in the cluster."""

    @property
    def serves_sessions(self) -> bool:
        """Whether the servers have live sessions."""
        return "Streams" in self.workloads

    @property
    def serves_queue(self) -> bool:
        """Whether the servers make attempts of jobs."""
        return "Queue" in self.workloads

    @property
    def secret_names(self) -> list[str]:
        """The Secrets that jobs may name."""
        return [] if self.queue is None else [each.name for each in self.queue.secret_refs]

    @property
    def tenant_name(self) -> str | None:
        """Name in `tenant_ref`, if given."""
        return self.tenant_ref.name if self.tenant_ref else None

    @property
    def exposes_plaintext(self) -> bool:
        """Whether the Service leads out of the cluster in plain text although it was not asked for."""
        return self.service.type != "ClusterIP" and self.tls is None and not self.service.allow_plaintext


PoolPhase = Literal["Pending", "Scaling", "Ready", "Idle", "Failed"]
"""Derived from the conditions, for people; programs read the conditions."""


class RuntimePoolStatus(ConditionedStatus):
    """Observed state; written by the operator only."""

    phase: PoolPhase | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Derived from the conditions, for people; programs read the conditions."""
    replicas: int = Field(default=0, ge=0)
    """Number of servers, warm or not."""
    ready_replicas: int = Field(default=0, ge=0)
    """Number of warm servers."""
    selector: str | None = None
    """Label selector of the servers' pods, for autoscalers."""
    sessions: int = Field(default=0, ge=0)
    """Number of open sessions, including waiting ones."""
    queued_jobs: int = Field(default=0, ge=0)
    """Number of jobs whose attempts are in the queue, being worked on, or about to be retried."""
    capacity: int = Field(default=0, ge=0)
    """Maximum number of sessions of the pool."""
    idle_since: AwareDatetime | None = None
    """Since when no session has been open and no job queued; present while servers beyond `minReplicas` still exist."""


class RuntimePool(Resource):
    """Warm servers of one speech model, for StreamSessions and for jobs with `execution: Pool` or `Auto`."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="RuntimePool",
        plural="runtimepools",
        short_names=("rp",),
        scope="Namespaced",
        columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Ready", ".status.readyReplicas", "integer", "Number of warm servers"),
            PrinterColumn("Replicas", ".status.replicas", "integer", "Number of servers"),
            PrinterColumn("Sessions", ".status.sessions", "integer", "Number of open sessions"),
            PrinterColumn("Jobs", ".status.queuedJobs", "integer", "Number of jobs in the queue", wide=True),
            PrinterColumn("Capacity", ".status.capacity", "integer", "Maximum number of sessions", wide=True),
            PrinterColumn("Model", ".spec.model.name"),
            PrinterColumn("Profile", ".spec.profileRef.name", wide=True),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=POOL_NAME_RULES,
        selectable=(".status.phase", ".spec.profileRef.name"),
        scale=Scale(),
    )
    kind: Literal["RuntimePool"] = "RuntimePool"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: RuntimePoolSpec = RuntimePoolSpec()
    status: RuntimePoolStatus = RuntimePoolStatus()
