"""Settings: one JSON document, which the chart mounts from a ConfigMap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from steno_api.egress import Egress
from steno_api.gateway.api_keys import API_KEY_SECRET, Scope
from steno_api.model import Model
from steno_api.v1alpha1.common import EndpointURL, Name
from steno_api.worker.task import EgressRules

MAX_DIRECT_UPLOAD_BYTES = 5 * 1024**3
"""The most that one PUT to S3 takes, and that workers fetch."""
SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Of JWTs; those with a shared secret and `none` are not among them."""
MAX_UPLOAD_BYTES = 100 * 1024 * 1024
"""As the original engine."""


class StoreSettings(Model):
    """Where uploads are staged and results are published."""

    uri: Annotated[str, Field(pattern=r"^s3://[^/\s]+(/\S*)?$", max_length=1024)]
    """`s3://bucket[/prefix]`."""
    secret_name: Name = "steno-store"  # noqa: S105 - the name of a Secret
    """Secret of the workers' credentials, in each namespace that a key names."""
    endpoint_url: EndpointURL | None = Field(default=None, alias="endpointURL")
    """URL of the S3 server; absent: AWS."""
    public_endpoint_url: EndpointURL | None = Field(default=None, alias="publicEndpointURL")
    """URL of the same server for clients, in presigned URLs; absent: `endpointURL`."""
    region: str | None = None
    """Its region."""


class SourceRoot(Model):
    """A directory that clients name sources in by path, such as `/recordings/talk.wav`."""

    path: Annotated[str, Field(pattern=r"^(/[^/\s]+)+$", max_length=256)]
    """As clients write it."""
    claim: Name
    """PersistentVolumeClaim that has it, in each namespace that a key names; workers mount it."""

    def source(self, path: str) -> str | None:
        """Return the URI of a file in it; None: the path is elsewhere."""
        inside = path.removeprefix(f"{self.path}/")
        return None if inside == path else f"pvc://{self.claim}/{inside}"


class DefaultLimits(Model):
    """Limits of keys that have none of their own."""

    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    """Requests that begin in a minute, on each replica."""
    concurrent_requests: Annotated[int, Field(ge=1)] = 64
    """Requests and live sessions at a time, on each replica."""
    tenant_requests_per_minute: Annotated[int, Field(ge=1)] = 6000
    """Of all keys of a tenant together."""


class OIDCIssuer(Model):
    """An identity provider whose tokens are accepted beside API keys."""

    issuer: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$", max_length=512)]
    """Its claim `iss`, an `https://` URL."""
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    """Claim `aud` of tokens for this gateway."""
    jwks_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)] | None = Field(None, alias="jwksURL")
    """Where its public keys are; absent: `/.well-known/openid-configuration` says so."""
    algorithms: tuple[SigningAlgorithm, ...] = ("RS256", "ES256", "EdDSA")
    """With which tokens may be signed."""
    tenant_claim: Annotated[str, Field(min_length=1)] = "tenant"
    """Claim with the name of the Tenant."""
    namespaces: Annotated[dict[str, Name], Field(min_length=1)]
    """Namespace of each Tenant: where its work is created. Tokens of other Tenants are refused."""
    scopes: tuple[Scope, ...] = tuple(Scope)
    """What tokens may be for."""
    scope_claim: str | None = None
    """Claim that lists what a token is for, such as `scope`; absent: all of `scopes`."""
    scope_prefix: str = ""
    """Of each scope in that claim, such as `steno:`."""

    @pydantic.model_validator(mode="after")
    def _is_encrypted(self) -> OIDCIssuer:
        urls = [self.issuer, *([self.jwks_url] if self.jwks_url else [])]
        if not self.allow_plain_http and any(not url.startswith("https:") for url in urls):
            raise ValueError("issuer and jwksURL must be https:// URLs (allowPlainHTTP: for tests)")
        return self

    allow_plain_http: bool = Field(default=False, alias="allowPlainHTTP")
    """Whether keys may be fetched without TLS: anyone in between can then make tokens."""


class WebhookSettings(Model):
    """How the end of a job is reported to its client."""

    allow_http: bool = Field(default=False, alias="allowHTTP")
    """Whether URLs without TLS are accepted: anyone in between can read which jobs end, and how."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15.0
    """Within which the client's server has to answer."""
    retry_seconds: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(max_length=32)] = (
        5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
    )  # fmt: skip
    """After each failed attempt, how long until the next; after the last of them none follows. The default is that of
    Standard Webhooks: a little over three days in all."""


class OperatorSettings(Model):
    """Where the operator's report endpoint is, and who asks there."""

    url: Annotated[str, Field(pattern=r"^https?://[^/\s@]+$")]
    """`https://host:port`."""
    token_file: Path
    """The gateway's own ServiceAccount token, for the operator's audience."""
    ca_file: Path | None = Field(default=None, alias="caFile")
    """CA certificates (PEM) of an `https://` operator; absent, or no such file: those of the system."""


class Settings(Model):
    """How the gateway runs."""

    name: Name = "steno-gateway"
    """Of the release: what it creates has the label `steno.dev/gateway` with this value."""
    namespace: Name = "default"
    """Where it runs, and where the Secrets with API keys are."""
    namespaces: tuple[Name, ...] = ()
    """The namespaces served; empty: all."""
    key_secrets: tuple[Name, ...] = (API_KEY_SECRET,)
    """Names of the Secrets with records of API keys."""
    oidc: tuple[OIDCIssuer, ...] = ()
    """Identity providers whose tokens are accepted beside API keys."""
    store: StoreSettings
    """Where uploads and results are."""
    transcription: dict[str, Any] = Field(default_factory=lambda: {"execution": "Auto"})
    """Fields of the spec of TranscriptionJobs, such as `model` and `profileRef`, unless the client chooses."""
    ocr: dict[str, Any] = Field(default_factory=lambda: {"execution": "Auto", "profileRef": {"name": "cpu"}})
    """Fields of the spec of OCRJobs."""
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^\s/]+)$")], ...] = ()
    """Origins of web pages that may call the gateway, such as `https://app.example.com`; `*`: all; empty: none."""
    source_roots: tuple[SourceRoot, ...] = ()
    """Directories in which clients may name sources by path; empty: none."""
    clamd: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$")] | None = None
    """`host:port` of ClamAV's daemon, which uploads have to pass; absent: they are not scanned."""
    operator: OperatorSettings | None = None
    """Who gives tokens of live sessions; absent: there are none."""
    stream: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Fields of the spec of StreamSessions, such as `poolRef` and `idleTimeoutSeconds`."""
    stream_wait_seconds: Annotated[float, Field(gt=0)] = 180.0
    """For which a client waits until its session is ready."""
    stream_ca_file: Path | None = Field(default=None, alias="streamCAFile")
    """CA certificates (PEM) of pools with TLS; absent, or no such file: those of the system."""
    max_priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """The highest `priority` that a client may give a job."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = MAX_UPLOAD_BYTES
    """Of one file in a request."""
    max_direct_upload_bytes: Annotated[int, Field(ge=1)] = MAX_DIRECT_UPLOAD_BYTES
    """Of one file that a client puts into the store itself."""
    upload_url_seconds: Annotated[int, Field(ge=1, le=604_800)] = Field(default=3600, alias="uploadURLSeconds")
    """For which such a PUT may begin."""
    resumable_upload_seconds: Annotated[int, Field(ge=1)] = 86_400
    """Within which a resumable upload has to be complete, and named as the source of a job."""
    wait_seconds: Annotated[float, Field(gt=0)] = 600.0
    """For which a request waits for its result; then the answer is 202 with the job's address."""
    ttl_seconds: Annotated[int, Field(ge=60)] = 86_400
    """After which an ended job, and its upload, are deleted. Results stay."""
    limits: DefaultLimits = DefaultLimits()
    """Of keys that have none of their own."""
    webhooks: WebhookSettings = WebhookSettings()
    """How the end of a job is reported to its client."""
    egress: EgressRules = Field(default_factory=EgressRules)
    """Networks that webhooks may, or may not, go to."""

    @pydantic.field_validator("egress")
    @classmethod
    def _are_networks(cls, rules: EgressRules) -> EgressRules:
        Egress(rules)
        return rules

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the document.

        Raises:
            OSError: it cannot be read.
            pydantic.ValidationError: a setting is missing or has no legal value.
        """
        return cls.model_validate_json(path.read_bytes())
