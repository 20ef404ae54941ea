"""Scope of credentials, as cookies have one: a Secret says itself which URL prefixes its values may be sent to.

Anyone who names a Secret in a resource chooses the server as well, and may not be allowed to read the Secret. So its
maker decides: `allowedPrefix` lists where its values may go. Pods mount no other keys than those named here, hence no
Secret that was made for something else. Shared by the operator, the runtime's storage and the client's downloads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from steno_api.s3 import CREDENTIAL_KEYS

ALLOWED_PREFIX = "allowedPrefix"
"""Key of a Secret: URL prefixes, separated by white space, that its credentials may be sent to."""
ALLOW_PLAIN_HTTP = "allowPlainHTTP"
"""Key of a Secret: `true` if they may be sent without TLS."""
ENDPOINT_KEY = "AWS_ENDPOINT_URL"
HTTP_TOKEN = "steno-http-token"  # noqa: S105 - the name of a Secret's key
HTTP_USERNAME = "steno-http-username"
HTTP_PASSWORD = "steno-http-password"  # noqa: S105

SOURCE_URI = "steno-source-uri"
"""Key of a Secret: the URL of a source, which is itself a credential."""

_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


@dataclass(frozen=True)
class SecretKeys:
    """Keys of a Secret that a pod mounts: without a required one its pod waits."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every key."""
        return (*self.required, *self.optional)


S3_KEYS = SecretKeys(
    CREDENTIAL_KEYS, ("AWS_SESSION_TOKEN", "AWS_REGION", ENDPOINT_KEY, ALLOWED_PREFIX, ALLOW_PLAIN_HTTP)
)
WEB_KEYS = SecretKeys((ALLOWED_PREFIX,), (ALLOW_PLAIN_HTTP, HTTP_TOKEN, HTTP_USERNAME, HTTP_PASSWORD))

URI_KEYS = SecretKeys((SOURCE_URI,), ())


def keys_for(uri: str) -> SecretKeys:
    """Return the keys that credentials for a source or output of this URI have."""
    return WEB_KEYS if uri.lower().startswith(("http://", "https://")) else S3_KEYS


@dataclass(frozen=True)
class Location:
    """Where a request goes: origin and path, the latter decoded and in segments."""

    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...] = ()

    def below(self, prefix: Location) -> bool:
        """Return whether this is at, or under, `prefix`: of the same origin, and segment by segment in its path."""
        return self.same_origin(prefix) and self.segments[: len(prefix.segments)] == prefix.segments

    def same_origin(self, other: Location) -> bool:
        """Return whether scheme, host and port are the same."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


def web_location(url: str) -> Location | None:
    """Return where an http or https URL points; None if libraries or servers could disagree about it."""
    scheme, _, rest = url.partition("://")
    authority, _, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    found = _AUTHORITY.fullmatch(authority)
    scheme = scheme.lower()
    if scheme not in _PORTS or found is None or not url.isprintable() or "\\" in url or " " in url:
        return None
    segments = tuple(unquote(part) for part in _segments(path))
    if any(not part.isprintable() or any(mark in part for mark in "/\\%") for part in segments):
        return None
    location = Location(scheme, found[1].lower(), int(found[2] or _PORTS[scheme]), segments)
    return location if _is_certain(segments) else None


def s3_location(bucket: str, key: str) -> Location | None:
    """Return the location of an object, or of a prefix of keys; None if bucket or key cannot be those of S3."""
    segments = _segments(key)
    return Location("s3", bucket, None, segments) if _BUCKET.fullmatch(bucket) and _is_certain(segments) else None


def aws_endpoint(region: str) -> str:
    """Return the URL of AWS's own S3 servers of a region."""
    return f"https://s3.{region}.amazonaws.com"


@dataclass(frozen=True)
class CredentialScope:
    """Where credentials may be sent.

    Attributes:
        prefixes: what `allowedPrefix` lists; empty: it is absent.
        endpoint: the S3 endpoint that the credentials themselves name; None: they are those of AWS.
        plain_http: whether they may be sent without TLS.
    """

    prefixes: Sequence[Location]
    endpoint: str | None
    plain_http: bool

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> CredentialScope:
        """Return the scope that a Secret's keys state.

        Raises:
            ValueError: an entry of `allowedPrefix` is not a URL; the text does not quote it.
        """
        prefixes: list[Location] = []
        for entry in values.get(ALLOWED_PREFIX, "").split():
            bucket, _, key = entry.removeprefix("s3://").partition("/")
            found = s3_location(bucket, key) if entry.startswith("s3://") else web_location(entry)
            if found is None:
                raise ValueError(
                    f"{ALLOWED_PREFIX} has an entry that is not a URL such as https://host/path or s3://bucket/prefix"
                )
            prefixes.append(found)
        plain_http = values.get(ALLOW_PLAIN_HTTP, "").strip().lower() == "true"
        return cls(prefixes, values.get(ENDPOINT_KEY) or None, plain_http)

    def refuse_url(self, url: str) -> str:
        """Return why the credentials may not be sent to a URL of the web; empty: they may."""
        location = web_location(url)
        if location is None:
            return f"its URL cannot be compared with {ALLOWED_PREFIX} for certain"
        if not any(location.below(prefix) for prefix in self.prefixes):
            return f"it is not below a prefix that the Secret's {ALLOWED_PREFIX} lists"
        return self._refuse_scheme(location)

    def refuse_object(self, endpoint: str | None, region: str, target: Location) -> str:
        """Return why the credentials may not be sent for an object, or a prefix of keys; empty: they may.

        Args:
            endpoint: of the request; None: that of AWS.
            region: of the request.
            target: bucket and key.
        """
        url = (endpoint or aws_endpoint(region)).rstrip("/")
        server = web_location(url)
        if server is None or "?" in url or "#" in url:
            return "its endpoint is not a plain URL"
        own = web_location((self.endpoint or aws_endpoint(region)).rstrip("/"))
        is_own = own is not None and server.below(own)
        path = Location(server.scheme, server.host, server.port, (*server.segments, target.host, *target.segments))
        listed = any(path.below(prefix) or (is_own and target.below(prefix)) for prefix in self.prefixes)
        if not listed and self.prefixes:
            return f"it is not below a prefix that the Secret's {ALLOWED_PREFIX} lists"
        if not listed and not is_own:
            return f"the Secret names this endpoint neither in {ALLOWED_PREFIX} nor in {ENDPOINT_KEY}"
        return self._refuse_scheme(server)

    def _refuse_scheme(self, location: Location) -> str:
        if location.scheme == "http" and not self.plain_http:
            return f'that is plain HTTP, which the Secret does not permit ({ALLOW_PLAIN_HTTP}: "true")'
        return ""


def _segments(path: str) -> tuple[str, ...]:
    """Return the path's parts; a slash at the end does not make another one."""
    parts = path.split("/")
    return tuple(parts[:-1] if parts[-1] == "" else parts)


def _is_certain(segments: tuple[str, ...]) -> bool:
    return not any(part in {".", "..", ""} for part in segments)
