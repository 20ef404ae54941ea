"""S3 clients: one for each bucket, way of retrying and set of credentials, kept from one attempt to the next.

What a task may reach, and where its credentials may be sent, is checked each time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import S3Store

from steno_api.credentials import ALLOW_PLAIN_HTTP, ENDPOINT_KEY, CredentialScope, aws_endpoint, s3_location
from steno_api.egress import DENIED, Egress, ForbiddenAddress, host_of
from steno_api.failures import FailureReason
from steno_api.s3 import CREDENTIAL_KEYS, DEFAULT_REGION
from steno_api.worker.task import EgressRules, TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage.common import redact
from steno_runtime.storage.credentials import Role, outside_scope, read_credentials, scope_of
from steno_runtime.storage.egress import egress_of
from steno_runtime.storage.egress_proxy import egress_proxy

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Credential

_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
CREDENTIALS_LIFETIME = timedelta(minutes=5)
"""Mounted credentials are read again after this time, so that a rotated Secret is noticed."""


ERRORS: tuple[type[Exception], ...] = (BaseError, FileNotFoundError, ValueError, OSError)
"""What obstore raises: its own errors, and Python's where one fits."""


@dataclass(frozen=True)
class Retries:
    """How obstore tries a request again."""

    most: int
    seconds: float
    """In all."""

    def config(self) -> RetryConfig:
        """Return it in obstore's words."""
        return {
            "max_retries": self.most,
            "retry_timeout": timedelta(seconds=self.seconds),
            "backoff": {"init_backoff": timedelta(seconds=0.25), "max_backoff": timedelta(seconds=15), "base": 2},
        }


_CONNECT_SECONDS = 10
_IDLE_SECONDS = 10
"""How long a connection is kept for the next request."""
_KEPT_CLIENTS = 64
"""An attempt uses four."""
READ_SECONDS, WRITE_SECONDS = 30, 120
"""How long an endpoint may be silent; with the retries, an output that cannot be reached is known within a minute."""
NO_RETRY = Retries(0, 60)
"""For callers that retry by themselves."""
SHORT_RETRY = Retries(4, 30)
LONG_RETRY = Retries(10, 170)
"""For results: losing them to a short outage would cost the whole work."""


@dataclass(frozen=True)
class _Client:
    """What a client of one bucket is made of."""

    bucket: str
    endpoint: str | None
    region: str | None
    proxy: str
    retries: Retries
    read_timeout: int
    credentials_dir: str | None
    role: Role
    keys: str
    """Digest of the credentials: others make another client. Empty: the pod's own identity."""

    def open(self) -> S3Store:
        """Make it; nothing is connected yet."""
        config: dict[str, Any] = {"virtual_hosted_style_request": False}  # a bucket's own host would be another origin
        if self.endpoint:
            config["endpoint"] = self.endpoint.rstrip("/")
        if self.region:
            config["region"] = self.region
        return S3Store(
            self.bucket,
            config=config,  # pyright: ignore[reportArgumentType]
            client_options={
                "allow_http": bool(self.endpoint and self.endpoint.lower().startswith("http://")),
                "proxy_url": self.proxy,
                "connect_timeout": f"{_CONNECT_SECONDS}s",
                "read_timeout": f"{self.read_timeout}s",
                "timeout": "1day",
                "pool_idle_timeout": f"{_IDLE_SECONDS}s",
            },
            retry_config=self.retries.config(),
            credential_provider=functools.partial(_credential, self.credentials_dir, self.role) if self.keys else None,
        )


_kept = functools.lru_cache(_KEPT_CLIENTS)(_Client.open)
"""Returns a client that is made already, if it is one of the latest: it has its certificates read, and connections."""


def open_client(
    location: TaskSource | TaskOutput, egress: EgressRules, retry: Retries, role: Role, *, read_timeout: int
) -> tuple[S3Store, str]:
    """Return a client of the bucket of a source or output, and the key (or prefix) in it.

    Args:
        location: what is read or written.
        egress: networks that it may be on.
        retry: how a request is tried again.
        role: which of both it is.
        read_timeout: seconds for which the endpoint may be silent.

    Raises:
        WorkError: `InvalidSpec`, `SourceForbidden` or `OutputForbidden`: it cannot be one, may not be reached, or its
            credentials may not be sent there.
    """
    parts = location.uri[len("s3://") :]
    bucket, _, key = parts.partition("/")
    credentials = read_credentials(location.credentials_dir)
    endpoint = location.endpoint_url or credentials.get(ENDPOINT_KEY) or os.environ.get(ENDPOINT_KEY)
    if endpoint:
        _refuse_endpoint(endpoint, egress_of(egress), role)
    region = location.region or credentials.get("AWS_REGION")
    given = region or (DEFAULT_REGION if location.credentials_dir else None)
    region = region or os.environ.get("AWS_REGION") or DEFAULT_REGION
    keys = ""
    if has_keys(location.credentials_dir):
        _credential(location.credentials_dir, role)  # a Secret that lacks a key is reported now, in our words
        keys = hashlib.sha256(json.dumps(credentials, sort_keys=True).encode()).hexdigest()
    _check_scope(location, endpoint, region, role)
    client = _Client(
        bucket=bucket,
        endpoint=endpoint,
        region=given,
        # It resolves and connects by itself, and follows redirects: the proxy decides about each address.
        proxy=egress_proxy(egress, (endpoint or aws_endpoint(region)) if keys else None),
        retries=retry,
        read_timeout=read_timeout,
        credentials_dir=location.credentials_dir,
        role=role,
        keys=keys,
    )
    try:
        # Not kept without keys: where the pod's own identity comes from may change.
        store = _kept(client) if keys else client.open()
    except ERRORS as error:
        raise WorkError(
            FailureReason.INVALID_SPEC, f"{location.uri} cannot be opened: check its bucket name, endpoint and region."
        ) from error
    return store, key.strip("/") if role == "output" else key


def _check_scope(location: TaskSource | TaskOutput, endpoint: str | None, region: str, role: Role) -> None:
    """Check that the credentials may be sent for a location.

    Args:
        location: what is read or written.
        endpoint: of its requests; None: that of AWS.
        region: of its requests.
        role: which of both it is.

    Raises:
        WorkError: they are not, or the location cannot be one of S3.
    """
    bucket, _, key = location.uri[len("s3://") :].partition("/")
    target = s3_location(bucket, key.strip("/") if role == "output" else key)
    if target is None:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"{location.uri} is not a bucket and key of S3: a part of it is empty or relative. Correct {role}.uri.",
        )
    if not _REGION.fullmatch(region):  # it becomes part of a host name
        raise WorkError(FailureReason.INVALID_SPEC, f"The region of {location.uri} is not one. Correct {role}.region.")
    where = f"{redact(endpoint) if endpoint else 'AWS'} for {location.uri}"
    if has_keys(location.credentials_dir):
        why = scope_of(read_credentials(location.credentials_dir), role).refuse_object(endpoint, region, target)
        if why:
            raise outside_scope(role, where, why)
    elif _ambient_scope().refuse_object(endpoint, region, target):
        reason = FailureReason.SOURCE_FORBIDDEN if role == "source" else FailureReason.OUTPUT_FORBIDDEN
        raise WorkError(
            reason,
            f"The pod's own identity is not sent to {where}, since there are no credentials for this endpoint. Set "
            f"{role}.secretRef, or have the RuntimeProfile's env name the endpoint in {ENDPOINT_KEY}, with "
            "AWS_ALLOW_HTTP=true if it is plain HTTP.",
        )


def _ambient_scope() -> CredentialScope:
    """Return where the pod's own identity may be sent: to AWS, or where the administrator says, never a user."""
    environ = os.environ
    return scope_of(
        {ENDPOINT_KEY: environ.get(ENDPOINT_KEY, ""), ALLOW_PLAIN_HTTP: environ.get("AWS_ALLOW_HTTP", "")}, "source"
    )


def _refuse_endpoint(endpoint: str, egress: Egress, role: str) -> None:
    """Refuse a denied endpoint in words, before the proxy would."""
    try:
        with contextlib.suppress(OSError, UnicodeError):  # what does not resolve here may do so for a proxy
            egress.resolve(host_of(endpoint), None)
    except ForbiddenAddress as error:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"{role}.endpointURL {redact(endpoint)} leads to an address that is {DENIED}. Give the S3 server's URL, "
            "or have its network allowed (egress.allowedNetworks of the chart).",
        ) from error


def has_keys(directory: str | None) -> bool:
    """Return whether a Secret has keys of S3; else requests are made with the pod's own identity."""
    return any(name in read_credentials(directory) for name in CREDENTIAL_KEYS)


def _credential(directory: str | None, role: str) -> S3Credential:
    values = read_credentials(directory)
    missing = [name for name in CREDENTIAL_KEYS if not values.get(name)]
    if missing:
        raise WorkError(
            FailureReason.INVALID_SPEC, f"The Secret of {role}.secretRef lacks the key {missing[0]}. Add it."
        )
    return {
        "access_key_id": values["AWS_ACCESS_KEY_ID"],
        "secret_access_key": values["AWS_SECRET_ACCESS_KEY"],
        "token": values.get("AWS_SESSION_TOKEN") or None,
        "expires_at": datetime.now(UTC) + CREDENTIALS_LIFETIME,
    }
