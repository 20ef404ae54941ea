"""Pool task: the configuration of a RuntimePool's server, as one JSON document. It holds no secret."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from steno_api import API_VERSION
from steno_api.model import Model, ObjectRef
from steno_api.v1alpha1.runtimepool import UnauthenticatedLimits
from steno_api.v1alpha1.runtimeprofile import MIN_SOURCE_RATE, HubDownloads
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_api.worker.task import EgressRules, TaskReporting

CERTIFICATE_FILE, KEY_FILE = "tls.crt", "tls.key"
"""Keys of a Secret of type `kubernetes.io/tls`."""

ATTEMPTS_AT_ONCE = 2
"""Attempts that a server makes at a time, those of brief recordings not counted: while the model works on one, the next
is fetched and decoded, and the last published. A pool has a server for so many queued jobs."""


class PoolOutput(Model):
    """How a server reaches the object store that its sessions' transcripts are published to."""

    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None
    credentials_dir: str | None = None
    """Directory with one file per Secret key."""


class PoolQueue(Model):
    """The queue of a pool whose servers make attempts of jobs."""

    settings: dict[str, Any]
    """As `steno_queue.settings.QueueSettings` reads them, which is above this package."""
    credentials_root: str
    """Directory with a directory for each Secret that jobs may use; `credentialsDir` of a task is one of them."""


class PoolTask(Model):
    """Configuration of a RuntimePool's server."""

    kind: Literal["PoolTask"] = "PoolTask"
    api_version: Literal["steno.dev/v1alpha1"] = API_VERSION
    pool: ObjectRef
    """The RuntimePool."""
    tenant: str
    model: SpeechModel
    device: Literal["auto", "cuda", "cpu"] = "auto"
    memory_mib: int | None = Field(default=None, ge=1, alias="memoryMiB")
    model_store: str = "/models"
    model_digests: dict[str, str] = Field(default_factory=dict[str, str])
    """SHA-256 of the `SHA256SUMS` of each model that may be loaded from there, by its directory; empty: any may."""
    hub_downloads: HubDownloads = "Pinned"
    scratch_dir: str = "/scratch"
    max_sessions: int = Field(ge=1)
    """Sessions this replica serves at once; further ones are refused."""
    live: bool = True
    """Whether sessions are served: text must come soon then. Else the engine is set up to get through much work."""
    token_keys: list[str]
    """Public keys (PEM) that session tokens are verified with until the operator names others; without any,
    nobody is let in."""
    anonymous: bool = False
    """Accept every client, without a token: for local use."""
    api_keys: str | None = None
    """File or directory with the records of API keys that clients have instead of tokens, where there is no cluster."""
    audio_root: str | None = None
    """Directory below which `audio_url` and `document_url` may be a path; absent: they must be URLs."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address is not known beforehand
    """Address that the ports are opened on."""
    output: PoolOutput | None = None
    """Absent: nothing is published."""
    allowed_sources: list[str] = Field(default_factory=list[str])
    """URL prefixes that `POST /stt/process` and `/ocr/process` may fetch; empty: none."""
    min_source_bytes_per_second: int = Field(default=MIN_SOURCE_RATE, ge=0)
    """Sources, of attempts too, that are slower fail as `SourceUnavailable`; 0: none does."""
    egress: EgressRules = Field(default_factory=EgressRules)
    http_port: int = 8080
    grpc_port: int = 9090
    probe_port: int = 8081
    """Of probes, which need no token, and metrics; no Service leads to it."""
    metrics_token_sha256: str | None = Field(default=None, alias="metricsTokenSHA256")
    """Of the bearer token that `/metrics` needs; absent: none."""
    unauthenticated: UnauthenticatedLimits = UnauthenticatedLimits()
    grpc_reflection: bool = False
    max_document_pages: int = Field(default=200, ge=1)
    """Pages of one document that are read; a document of more is refused."""
    tls_dir: str | None = None
    """Directory with `CERTIFICATE_FILE` and `KEY_FILE` for the ports of clients; absent: they are plain text."""
    drain_seconds: int = Field(default=25, ge=0)
    """Time that sessions have to end after SIGTERM; shorter than the pod's grace period."""
    reporting: TaskReporting | None = None
    queue: PoolQueue | None = None
    """Absent: only sessions and uploads are served. Needs `reporting`."""
