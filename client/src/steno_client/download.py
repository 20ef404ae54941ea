"""Artifact download from S3: each digest is verified, and each file is written completely or not at all."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from steno_api.credentials import CredentialScope, s3_location
from steno_api.s3 import CREDENTIAL_KEYS, DEFAULT_REGION, parse_error
from steno_api.v1alpha1.common import ResultArtifact
from steno_client import formatting
from steno_client.errors import (
    EXIT_DENIED,
    EXIT_INPUT,
    EXIT_NOT_FOUND,
    EXIT_TEMPORARY,
    EXIT_UNAVAILABLE,
    CommandError,
)
from steno_client.kube import Cluster
from steno_client.output_files import atomic_write
from steno_client.resource import OutputLocation, ResourceView

if TYPE_CHECKING:
    from obstore.store import S3Credential

CHUNK_BYTES = 1024 * 1024
_WORKLOAD_IDENTITY = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that give a pod or container an identity of its own."""
_ERRORS: tuple[type[Exception], ...] = (BaseError, FileNotFoundError, ValueError, OSError)
"""The exceptions of obstore: its own, and the built-in ones that it uses."""


@dataclass(frozen=True)
class StoreAccess:
    """How to reach the object store; `None` leaves a setting to the spec, the Secret or the environment.

    Attributes:
        endpoint_url: URL of the S3 server.
        region: S3 region.
        profile: profile of `~/.aws/credentials`.
        from_secret: whether to use the credentials of the Secret in `spec.output.secretRef`.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    from_secret: bool = False


def select_artifacts(resource: ResourceView, formats: Sequence[str]) -> list[ResultArtifact]:
    """Return the published artifacts of a resource in the given formats; of all formats if none is given.

    Raises:
        CommandError: the resource has not published results, or not in one of these formats.
    """
    name = resource.display_name
    if resource.status.results is None:
        if resource.finished:
            raise CommandError(f"{name} has no results: {formatting.end_line(resource)}", EXIT_NOT_FOUND)
        raise CommandError(
            f"{name} has no results yet ({formatting.progress_line(resource)}): "
            f"`steno tail -n {resource.namespace} {name}` waits for it",
            EXIT_TEMPORARY,
        )
    published = {one.format: one for one in resource.status.results.artifacts}
    if absent := [one for one in formats if one not in published]:
        raise CommandError(
            f"{name} did not publish {', '.join(absent)}: choose from --format {','.join(published)}", EXIT_INPUT
        )
    return [published[one] for one in formats or published]


def _file_name(artifact: ResultArtifact) -> str:
    name = artifact.uri.rpartition("/")[2]
    if name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise CommandError(f"{artifact.uri} does not name a file", EXIT_INPUT)
    return name


class ArtifactStore:
    """The S3 store that a resource published to."""

    def __init__(self, cluster: Cluster, resource: ResourceView, access: StoreAccess) -> None:
        """Find the endpoint and credentials, without contacting the store.

        Args:
            cluster: where the resource is; only used to read the Secret.
            resource: a resource with results.
            access: settings that take precedence over those of the resource.

        Raises:
            CommandError: the results are on a PersistentVolumeClaim, or there are no credentials.
        """
        artifacts = resource.status.results.artifacts if resource.status.results else []
        uri = artifacts[0].uri if artifacts else ""
        if uri.startswith("pvc://"):
            claim, _, path = uri.removeprefix("pvc://").rpartition("/")[0].partition("/")
            raise CommandError(
                f"the results are on the PersistentVolumeClaim {claim}, which only pods can read: mount it in a pod, "
                f"then run `kubectl -n {resource.namespace} cp POD:MOUNTPATH/{path} {resource.name}`",
                EXIT_UNAVAILABLE,
            )
        location = resource.output or OutputLocation(uri=uri)
        secret: Mapping[str, str] = {}
        if access.from_secret:
            if location.secret_ref is None:
                raise CommandError(
                    f"{resource.display_name} has no spec.output.secretRef: leave out --from-secret and set "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    EXIT_INPUT,
                )
            secret = cluster.read_secret(location.secret_ref.name)
        self._credential = _find_credential(access, secret, location)
        self._endpoint = access.endpoint_url or location.endpoint_url or secret.get("AWS_ENDPOINT_URL")
        self._region = access.region or location.region or secret.get("AWS_REGION") or DEFAULT_REGION
        if access.from_secret and access.endpoint_url is None:
            _check_scope(secret, self._endpoint, self._region, uri)

    def download_all(self, artifacts: Sequence[ResultArtifact], directory: Path) -> Iterator[Path]:
        """Download artifacts into a directory, and yield the path of each file once it is complete.

        Args:
            artifacts: what to download.
            directory: an existing directory.

        Raises:
            CommandError: an artifact cannot be downloaded, or its content has changed since.
        """
        for artifact in artifacts:
            path = directory / _file_name(artifact)
            with atomic_write(path) as draft:
                self.download(artifact, draft)
            yield path

    def download(self, artifact: ResultArtifact, path: Path) -> None:
        """Download an artifact to a path and verify its digest.

        Raises:
            CommandError: it cannot be downloaded, or its content has changed since.
        """
        bucket, _, key = artifact.uri.removeprefix("s3://").partition("/")
        digest, count = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for chunk in obstore.get(self._open_bucket(bucket), key).stream(min_chunk_size=CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    count += len(chunk)
        except _ERRORS as error:
            raise self._error_for(artifact.uri, error) from error
        if digest.hexdigest() != artifact.sha256:
            raise CommandError(
                f"{artifact.uri} is not what was published ({count} bytes with another digest, instead of "
                f"{artifact.bytes}): it was changed since; nothing was written",
                EXIT_INPUT,
            )

    def _open_bucket(self, bucket: str) -> S3Store:
        settings: dict[str, Any] = {"region": self._region}
        if self._endpoint:
            settings["endpoint"] = self._endpoint.rstrip("/")
        credential = self._credential
        return S3Store(
            bucket,
            config=settings,  # pyright: ignore[reportArgumentType]
            client_options={
                "allow_http": bool(self._endpoint and self._endpoint.lower().startswith("http://")),
                "connect_timeout": "10s",
                "timeout": "1h",
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
            credential_provider=None if credential is None else (lambda: credential),
        )

    def _error_for(self, uri: str, error: Exception) -> CommandError:
        if isinstance(error, OSError) and error.errno is not None:
            raise error  # the local file: the caller names it
        answer = parse_error(error)
        reason = answer.code or (f"HTTP {answer.status}" if answer.status else "")
        if answer.is_forbidden or isinstance(error, PermissionError):
            return CommandError(
                f"reading {uri} is not allowed ({reason or 'forbidden'}): give other credentials, or --from-secret",
                EXIT_DENIED,
            )
        if isinstance(error, FileNotFoundError) or answer.status == 404:
            return CommandError(
                f"{uri} does not exist: it was deleted, or --endpoint-url is that of another server", EXIT_NOT_FOUND
            )
        if answer.status and answer.status < 500:
            return CommandError(f"{uri} cannot be read: the store answered {reason}: check --region", EXIT_INPUT)
        return CommandError(_explain_outage(self._endpoint, reason), EXIT_TEMPORARY)


def _check_scope(secret: Mapping[str, str], endpoint: str | None, region: str, uri: str) -> None:
    """Refuse to send a Secret's credentials to an endpoint that the author of the resource chose, not the Secret's."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    target = s3_location(bucket, key)
    try:
        why = "" if target is None else CredentialScope.parse(secret).refuse_object(endpoint, region, target)
    except ValueError as error:
        why = str(error)
    if why or target is None:
        raise CommandError(
            f"the Secret's credentials are not sent to {endpoint or 'AWS'} for {uri}: "
            f"{why or 'it names no object of S3'}. If you trust this endpoint, name it with --endpoint-url",
            EXIT_DENIED,
        )


def _explain_outage(endpoint: str | None, reason: str) -> str:
    if reason:
        return f"the store at {endpoint or 'AWS'} cannot answer now ({reason}): try again"
    host = urlsplit(endpoint or "").hostname or ""
    inside = re.fullmatch(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\..*)?", host)
    if inside is None:
        return f"the store at {endpoint or 'AWS'} cannot be reached from here: give an --endpoint-url that can"
    port = urlsplit(endpoint or "").port or 80
    return (
        f"{endpoint} is an address inside the cluster: run `kubectl -n {inside[2]} port-forward svc/{inside[1]} "
        f"{port}` and add --endpoint-url http://127.0.0.1:{port}"
    )


def _find_credential(access: StoreAccess, secret: Mapping[str, str], location: OutputLocation) -> S3Credential | None:
    """Return the credential to use; None if obstore is to use the identity of this machine."""
    if access.from_secret:
        if absent := [name for name in CREDENTIAL_KEYS if not secret.get(name)]:
            raise CommandError(
                f"the Secret {location.secret_ref.name if location.secret_ref else ''} has no {absent[0]}: add it, or "
                "set it in the environment and leave out --from-secret",
                EXIT_INPUT,
            )
        return _credential(secret)
    if all(os.environ.get(name) for name in CREDENTIAL_KEYS):
        return _credential(os.environ)
    if found := _read_profile(access.profile):
        return _credential(found)
    if any(os.environ.get(name) for name in _WORKLOAD_IDENTITY):
        return None
    remedy = ", or --from-secret" if location.secret_ref else ""
    raise CommandError(
        f"no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile{remedy}",
        EXIT_UNAVAILABLE,
    )


def _credential(values: Mapping[str, str]) -> S3Credential:
    return {
        "access_key_id": values["AWS_ACCESS_KEY_ID"],
        "secret_access_key": values["AWS_SECRET_ACCESS_KEY"],
        "token": values.get("AWS_SESSION_TOKEN") or None,
        "expires_at": datetime.now(UTC) + timedelta(days=1),
    }


def _read_profile(name: str | None) -> dict[str, str]:
    """Return the keys of a profile in the shared credentials file of the AWS tools; empty if there is none.

    Raises:
        CommandError: the profile that was asked for has no keys.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {type(error).__name__}", EXIT_INPUT) from error
    section = name or "default"
    values = {key.upper(): value for key, value in parser.items(section)} if parser.has_section(section) else {}
    if all(values.get(key) for key in CREDENTIAL_KEYS):
        return values
    if name:
        raise CommandError(
            f'{path} has no keys for the profile {name}: run `eval "$(aws configure export-credentials --profile '
            f'{name} --format env)"` and leave out --profile',
            EXIT_UNAVAILABLE,
        )
    return {}
