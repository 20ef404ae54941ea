"""Parts of a spec or status that several kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from steno_api.documents.manifest import PublishedArtifact
from steno_api.failures import FailureReason
from steno_api.model import Model
from steno_api.rules import Pattern, Rule

DNS_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"

LANGUAGE = r"auto|[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*"
"""`auto`, or a BCP 47 language tag; browsers and people write regions and scripts, with either separator."""

SpokenLanguages = Annotated[
    list[
        Annotated[
            str,
            Field(min_length=2, max_length=35),
            Pattern(
                r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*", "must be a BCP 47 language tag such as en, ko-KR or zh-Hant"
            ),
        ]
    ],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
]
"""BCP 47 tags of the languages that may be spoken, each once."""

DETECTION_RULE = Rule(
    "!has(self.languages) || size(self.languages) == 0 || !has(self.language) || self.language == 'auto'",
    "languages restricts what is detected: leave language out, or leave languages out",
    ".languages",
)
"""Of a spec with `language` and `languages`."""

ClientMetadata = Annotated[
    dict[str, Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
    Rule("self.all(key, size(key) >= 1 && size(key) <= 63)", "keys must have 1 to 63 characters"),
]
"""Free text of whoever asked for the work: nothing is done with it, and documents have it as it is."""

Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Pattern(DNS_NAME, "must be a Kubernetes name: lower-case letters, digits, '-' and '.'"),
]
"""Name of a Kubernetes object."""

EndpointURL = Annotated[
    str,
    Field(min_length=8, max_length=512),
    Pattern(
        r"https?://[^/\s@]+(/[^\s]*)?", "must be a URL such as https://minio.example.com:9000, without credentials"
    ),
]

Region = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Pattern(r"[A-Za-z0-9][A-Za-z0-9_-]*", "must be a region of S3 such as eu-central-1"),
]
"""Of S3; it becomes part of the name of AWS's host."""

TenantName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Pattern(DNS_NAME, "must be a Kubernetes name: lower-case letters, digits, '-' and '.'"),
]
"""A tenant's name; the maximum length is that of a label's value, which it is used as."""

S3_ONLY_RULES = (
    Rule(
        "!has(self.endpointURL) || !has(self.uri) || self.uri.startsWith('s3://')",
        "endpointURL is for s3:// URIs only",
        ".endpointURL",
    ),
    Rule(
        "!has(self.region) || !has(self.uri) || self.uri.startsWith('s3://')",
        "region is for s3:// URIs only",
        ".region",
    ),
    Rule(
        "!has(self.secretRef) || !has(self.uri) || !self.uri.startsWith('pvc://')",
        "secretRef is not for pvc:// URIs: the pod mounts the claim",
        ".secretRef",
    ),
)

CLAIM_RULES = (
    Rule(
        f"!has(self.uri) || !self.uri.startsWith('pvc://') || self.uri.matches('^pvc://{DNS_NAME}(/|$)')",
        "the claim in pvc://claim/path must be the name of a PersistentVolumeClaim",
        ".uri",
    ),
    Rule(
        "!has(self.uri) || !self.uri.startsWith('pvc://') || !self.uri.matches('/[.][.]?(/|$)')",
        "a path in a claim must not contain '.' or '..'",
        ".uri",
    ),
)


class SecretRef(Model):
    """A Secret in the resource's own namespace."""

    name: Name
    """The Secret's name."""


class ProfileRef(Model):
    """A RuntimeProfile of the cluster."""

    name: Name = "gpu"
    """The RuntimeProfile's name."""


DEFAULT_POOL = "default"
"""Name of the pool that is created on demand."""


class PoolRef(Model):
    """A RuntimePool of the same namespace."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=50),
        Pattern(r"[a-z]([-a-z0-9]*[a-z0-9])?", "must be a RuntimePool's name: lower-case letters, digits and '-'"),
    ] = DEFAULT_POOL
    """The RuntimePool's name."""


class TenantRef(Model):
    """A Tenant of the cluster, or just a tenant's name where no Tenant has the namespace."""

    name: TenantName
    """The tenant's name."""


class Source(Model):
    """Where the input is read from."""

    rules = (
        *CLAIM_RULES,
        *S3_ONLY_RULES,
        Rule(
            "!has(self.uri) || self.uri.startsWith('http') || !self.uri.endsWith('/')",
            "uri names a folder: give one file, such as s3://bucket/folder/talk.m4a",
            ".uri",
        ),
        Rule(
            "!has(self.uri) || !self.uri.matches('^https?://[^/]*@')",
            "credentials do not belong in a URI: put them in a Secret and name it in secretRef",
            ".uri",
        ),
        Rule("has(self.uri) != has(self.uriSecretRef)", "give one of uri and uriSecretRef"),
        Rule(
            "!has(self.uriSecretRef) || !(has(self.secretRef) || has(self.endpointURL) || has(self.region))",
            "secretRef, endpointURL and region go with uri: a URL in a Secret needs no other credentials",
            ".uriSecretRef",
        ),
    )

    uri: (
        Annotated[
            str,
            Field(min_length=8, max_length=2048),
            Pattern(r"(s3|https?|pvc)://[^/\s]+/.+", "must be s3://bucket/key, https://host/path or pvc://claim/path"),
        ]
        | None
    ) = None
    """`s3://bucket/key`, `https://host/path` or `pvc://claim/path`. Anyone who may read the job or its pod reads it; a
    URL that is itself a credential, such as a presigned one, belongs into `uriSecretRef`."""
    uri_secret_ref: SecretRef | None = Field(default=None, alias="uriSecretRef")
    """In place of `uri`: a Secret whose key `steno-source-uri` is an `https://` URL, which nothing shows."""
    secret_ref: SecretRef | None = None
    """Credentials: for s3 the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (optionally also
    `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`); for https `steno-http-token`, or `steno-http-username` and
    `steno-http-password`. They are only sent to the URL prefixes in its key `allowedPrefix`, which https needs; without
    it, those of s3 to AWS or to its `AWS_ENDPOINT_URL`. Plain HTTP needs `allowPlainHTTP: "true"`. Other keys are not
    mounted. Absent: the pod's own identity, which only AWS gets."""
    endpoint_url: EndpointURL | None = Field(default=None, alias="endpointURL")
    """S3 endpoint, for stores other than AWS."""
    region: Region | None = None
    """S3 region."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        """Refuse what the API server's rule refuses: a resource may be older than the rule."""
        if (self.uri is None) == (self.uri_secret_ref is None):
            raise ValueError("give one of uri and uriSecretRef")
        return self


class Output(Model):
    """Where results are published: `<uri>/<namespace>/<name>/<uid>/`."""

    rules = (*CLAIM_RULES, *S3_ONLY_RULES)

    uri: Annotated[
        str,
        Field(min_length=6, max_length=1024),
        Pattern(r"(s3|pvc)://[^/\s]+(/.*)?", "must be s3://bucket[/prefix] or pvc://claim[/directory]"),
    ]
    """`s3://bucket[/prefix]` or `pvc://claim[/directory]`."""
    secret_ref: SecretRef | None = None
    """S3 credentials, as in `source.secretRef`."""
    endpoint_url: EndpointURL | None = Field(default=None, alias="endpointURL")
    """S3 endpoint, for stores other than AWS."""
    region: Region | None = None
    """S3 region."""


class Results(Model):
    """Location of the results; present only when they are complete."""

    manifest: str
    """URI of the manifest, which lists every artifact with its digest."""
    artifacts: Annotated[list[ResultArtifact], Field(max_length=64)]
    """Every published file except the manifest."""

    @classmethod
    def of(cls, manifest: str, artifacts: Sequence[PublishedArtifact]) -> Results:
        """Return the results whose manifest has the URI `manifest`; the artifacts are in the same directory."""
        directory = manifest.rpartition("/")[0]
        return cls(manifest=manifest, artifacts=[ResultArtifact.of(item, directory) for item in artifacts])


class ResultArtifact(Model):
    """One published file."""

    format: str
    """One of the kind's formats."""
    uri: str
    """Its URI."""
    sha256: str
    """SHA-256 digest of the file, hexadecimal."""
    bytes: int
    """Size in bytes."""

    @classmethod
    def of(cls, artifact: PublishedArtifact, directory: str) -> ResultArtifact:
        """Return the status entry of `artifact`, published in `directory` (a URI without trailing slash)."""
        return cls(
            format=artifact.format, uri=f"{directory}/{artifact.name}", sha256=artifact.sha256, bytes=artifact.bytes
        )


class QueueStatus(Model):
    """Why a resource waits; present only while it does."""

    reason: str
    """One of the documented reasons."""
    message: str = ""
    """Explanation for people."""
    position: int | None = None
    """Place in the tenant's queue, from 1."""


class LastFailure(Model):
    """How the latest failed attempt ended."""

    attempt: int
    """Number of the attempt."""
    reason: FailureReason
    """Reason of the failure; decides whether and how it is retried."""
    message: str
    """What is wrong and what to do."""
    time: AwareDatetime
    """When it ended."""


Phase = Literal["Pending", "Waiting", "Running", "Retrying", "Suspended", "Succeeded", "Failed"]
"""Derived from the conditions, for people; programs read the conditions."""
