"""Fetching published artifacts from S3: checked against their digests, and written whole or not at all."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from steno_api.v1alpha1.common import ResultArtifact
from steno_client import publish, show
from steno_client.errors import (
    EXIT_DENIED,
    EXIT_INPUT,
    EXIT_NOT_FOUND,
    EXIT_TEMPORARY,
    EXIT_UNAVAILABLE,
    CommandError,
)
from steno_client.kube import Cluster
from steno_client.resource import Followed, OutputPlace

if TYPE_CHECKING:
    from obstore.store import S3Credential

DEFAULT_REGION = "us-east-1"
CHUNK_BYTES = 1024 * 1024
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AMBIENT = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FORBIDDEN = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "XAdminUserNotFound",
    }
)
_ERRORS: tuple[type[Exception], ...] = (BaseError, FileNotFoundError, ValueError, OSError)
"""What obstore raises: its own errors, and Python's where one fits."""


@dataclass(frozen=True)
class Access:
    """How the user reaches the store; `None` leaves it to the spec, the Secret or the environment."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    from_secret: bool = False


def results(cluster: Cluster, resource: Followed, formats: Sequence[str], output: str | None, access: Access) -> None:
    """Fetches the artifacts of a resource that published some.

    Args:
        cluster: where the resource is.
        resource: what published.
        formats: which; none: all, or with `output` `-` the text.
        output: a directory, by default one named like the resource; `-`: standard output.
        access: how to reach the store.

    Raises:
        CommandError: there is nothing to fetch, or it cannot be fetched.
    """
    wanted = _wanted(resource, formats, to_stdout=output == "-")
    store = _Store(cluster, resource, wanted[0], access)
    if output == "-":
        (artifact,) = wanted
        if artifact.format == "pdf" and sys.stdout.isatty():
            raise CommandError("a PDF is nothing for a terminal: give --output DIR, or redirect it", EXIT_INPUT)
        with tempfile.TemporaryDirectory(prefix="steno-") as scratch:
            file = Path(scratch) / artifact.format
            store.fetch(artifact, file)
            publish.to_stdout(file)
        return
    directory = publish.folder(output or resource.name)
    for artifact in wanted:
        path = directory / _file_name(artifact)
        with publish.draft_of(path) as draft:
            store.fetch(artifact, draft)
        print(path)


def _wanted(resource: Followed, formats: Sequence[str], *, to_stdout: bool) -> list[ResultArtifact]:
    if resource.status.results is None:
        if resource.ended:
            raise CommandError(f"{resource.shown} has no results: {show.end_line(resource)}", EXIT_NOT_FOUND)
        raise CommandError(
            f"{resource.shown} has no results yet ({show.progress_line(resource)}): "
            f"`steno tail -n {resource.namespace} {resource.shown}` waits for it",
            EXIT_TEMPORARY,
        )
    published = {one.format: one for one in resource.status.results.artifacts}
    asked = list(formats) or (["txt"] if to_stdout else list(published))
    if absent := [name for name in asked if name not in published]:
        raise CommandError(
            f"{resource.shown} did not publish {', '.join(absent)}: choose of --format {','.join(published)}",
            EXIT_INPUT,
        )
    return [published[name] for name in asked]


def _file_name(artifact: ResultArtifact) -> str:
    name = artifact.uri.rpartition("/")[2]
    if name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise CommandError(f"{artifact.uri} names no file", EXIT_INPUT)
    return name


class _Store:
    """The store of one resource's output."""

    def __init__(self, cluster: Cluster, resource: Followed, artifact: ResultArtifact, access: Access) -> None:
        uri = artifact.uri
        if uri.startswith("pvc://"):
            claim, _, path = uri.removeprefix("pvc://").rpartition("/")[0].partition("/")
            raise CommandError(
                f"the results lie in the PersistentVolumeClaim {claim}, which only pods reach: mount it in a pod, "
                f"then `kubectl -n {resource.namespace} cp POD:MOUNTPATH/{path} {resource.name}`",
                EXIT_UNAVAILABLE,
            )
        place = resource.output or OutputPlace(uri=uri)
        secret: Mapping[str, str] = {}
        if access.from_secret:
            if place.secret_ref is None:
                raise CommandError(
                    f"{resource.shown} names no Secret in spec.output: leave out --from-secret and set "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    EXIT_INPUT,
                )
            secret = cluster.secret(place.secret_ref.name)
        self._place = place
        self._secret = secret
        self._keys = _keys(access, secret, place)
        self._endpoint = access.endpoint_url or place.endpoint_url or secret.get("AWS_ENDPOINT_URL")
        self._region = access.region or place.region or secret.get("AWS_REGION") or DEFAULT_REGION

    def fetch(self, artifact: ResultArtifact, target: Path) -> None:
        """Downloads an artifact to a path and compares its digest.

        Raises:
            CommandError: it cannot be had, or is not what was published.
        """
        bucket, _, key = artifact.uri.removeprefix("s3://").partition("/")
        digest, count = hashlib.sha256(), 0
        try:
            with target.open("wb") as file:
                for chunk in obstore.get(self._open(bucket), key).stream(min_chunk_size=CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    count += len(chunk)
        except _ERRORS as error:
            raise self._explained(artifact.uri, error) from error
        if digest.hexdigest() != artifact.sha256:
            raise CommandError(
                f"{artifact.uri} is not what was published ({count} bytes with another digest; published were "
                f"{artifact.bytes}): it was changed since; nothing was written",
                EXIT_INPUT,
            )

    def _open(self, bucket: str) -> S3Store:
        settings: dict[str, Any] = {"region": self._region}
        if self._endpoint:
            settings["endpoint"] = self._endpoint.rstrip("/")
        keys = self._keys
        return S3Store(
            bucket,
            config=settings,  # pyright: ignore[reportArgumentType]
            client_options={
                "allow_http": bool(self._endpoint and self._endpoint.lower().startswith("http://")),
                "connect_timeout": "10s",
                "timeout": "1h",
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
            credential_provider=None if keys is None else (lambda: keys),
        )

    def _explained(self, uri: str, error: Exception) -> CommandError:
        if isinstance(error, OSError) and error.errno is not None:
            raise error  # our own file: the caller names it
        text = str(error).partition("Debug source")[0]
        code = re.search(r"<Code>(\w+)</Code>", text)
        status = re.search(r"status code: (\d{3})", text)
        number = int(status[1]) if status else 0
        said = code[1] if code else (f"HTTP {number}" if number else "")
        if said in _FORBIDDEN or isinstance(error, PermissionError) or number in (401, 403):
            return CommandError(
                f"{uri} may not be read ({said or 'forbidden'}): give credentials that may, or --from-secret",
                EXIT_DENIED,
            )
        if isinstance(error, FileNotFoundError) or number == 404:
            return CommandError(
                f"{uri} is not there: it was deleted, or --endpoint-url is that of another server", EXIT_NOT_FOUND
            )
        if number and number < 500:
            return CommandError(f"{uri} cannot be read: the store answered {said}: check --region", EXIT_INPUT)
        return CommandError(_unreachable(self._endpoint, said), EXIT_TEMPORARY)


def _unreachable(endpoint: str | None, said: str) -> str:
    if said:
        return f"the store at {endpoint or 'AWS'} cannot answer now ({said}): try again"
    host = urlsplit(endpoint or "").hostname or ""
    inside = re.fullmatch(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\..*)?", host)
    if inside is None:
        return f"the store at {endpoint or 'AWS'} does not answer from here: give an --endpoint-url that does"
    port = urlsplit(endpoint or "").port or 80
    return (
        f"{endpoint} is an address inside the cluster: run `kubectl -n {inside[2]} port-forward svc/{inside[1]} "
        f"{port}` and add --endpoint-url http://127.0.0.1:{port}"
    )


def _keys(access: Access, secret: Mapping[str, str], place: OutputPlace) -> S3Credential | None:
    """The credentials; None: obstore takes the machine's own identity."""
    if access.from_secret:
        if absent := [name for name in KEYS if not secret.get(name)]:
            raise CommandError(
                f"the Secret {place.secret_ref.name if place.secret_ref else ''} lacks {absent[0]}: add it, or set it "
                "in the environment and leave out --from-secret",
                EXIT_INPUT,
            )
        return _credential(secret)
    if all(os.environ.get(name) for name in KEYS):
        return _credential(os.environ)
    if found := _profile(access.profile):
        return _credential(found)
    if any(os.environ.get(name) for name in _AMBIENT):
        return None
    remedy = ", or --from-secret" if place.secret_ref else ""
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


def _profile(name: str | None) -> dict[str, str]:
    """Keys of a profile in the AWS tools' file of credentials; empty if there is no such file.

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
    if all(values.get(key) for key in KEYS):
        return values
    if name:
        raise CommandError(
            f'{path} has no keys of the profile {name}: run `eval "$(aws configure export-credentials --profile {name} '
            '--format env)"` and leave out --profile',
            EXIT_UNAVAILABLE,
        )
    return {}
