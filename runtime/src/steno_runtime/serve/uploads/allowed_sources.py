"""Which URLs a client may make the server fetch: those under the pool's `allowedSources`, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import httpx

from steno_api.failures import FailureReason
from steno_api.server.task import PoolOutput
from steno_api.worker.task import TaskSource
from steno_runtime.errors import Check, WorkError
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.serve.uploads.body import MAX_UPLOAD_BYTES
from steno_runtime.storage import fetch
from steno_runtime.storage.download import OnBytes

MAX_URL_CHARS = 4096
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class _Place:
    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...]


class Sources:
    """The allowed sources of a pool."""

    def __init__(self, allowed: Sequence[str], place: PoolOutput | None) -> None:
        """Reads the prefixes.

        Raises:
            WorkError: `InvalidSpec`: one of them is no URL.
        """
        self._prefixes = [_prefix(url) for url in allowed]
        self._place = place

    def allows(self, url: str) -> bool:
        """Tells whether `url` lies at, or under, one of the prefixes.

        Paths are compared segment by segment, after decoding; a URL with credentials, or with a segment that a server
        could take for another one (`..`, an encoded slash), lies nowhere.
        """
        place = _place(url)
        return place is not None and any(_under(place, prefix) for prefix in self._prefixes)

    def check(self, url: str) -> None:
        """Refuses what is not allowed.

        Raises:
            Refusal: `SourceNotAllowed`.
        """
        if not self.allows(url):
            raise Refusal(
                Code.SOURCE_NOT_ALLOWED,
                "This URL is not under one of the pool's allowedSources. Upload the file, or have its place added "
                "to the RuntimePool's spec.allowedSources.",
            )

    def fetch(self, url: str, folder: Path, *, check: Check, on_bytes: OnBytes) -> Path:
        """Brings an allowed URL to a file in `folder`; a redirect to where it is not allowed is not followed.

        Raises:
            WorkError: see `storage.fetch`.
        """
        source = TaskSource(uri=url, max_bytes=MAX_UPLOAD_BYTES)
        if url.startswith("s3://") and self._place is not None:
            place = self._place
            source = source.model_copy(
                update={
                    "endpoint_url": place.endpoint_url,
                    "region": place.region,
                    "credentials_dir": place.credentials_dir,
                }
            )
        return fetch(source, folder, check=check, on_bytes=on_bytes, allowed=self.allows)


def _prefix(url: str) -> _Place:
    place = _place(url)
    if place is None:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            "allowedSources has an entry that is no https://, http:// or s3:// URL without credentials.",
        )
    return place


def _under(place: _Place, prefix: _Place) -> bool:
    same = (place.scheme, place.host, place.port) == (prefix.scheme, prefix.host, prefix.port)
    return same and place.segments[: len(prefix.segments)] == prefix.segments


def _place(url: str) -> _Place | None:
    """Returns where a URL points; None if that is not beyond doubt."""
    if len(url) > MAX_URL_CHARS or not url.isprintable() or "\\" in url or " " in url:
        return None
    scheme, _, rest = url.partition("://")
    place = _bucket(rest) if scheme == "s3" else _site(url, scheme, rest) if scheme in _PORTS else None
    if place is None or any(part in {".", "..", ""} for part in place.segments):
        return None
    return place


def _bucket(rest: str) -> _Place | None:
    # Not a URL to any library: bucket and key are taken as they are written.
    bucket, _, key = rest.partition("/")
    if not bucket or any(mark in bucket for mark in "@:?#%"):
        return None
    return _Place("s3", bucket, None, _segments(key))


def _site(url: str, scheme: str, rest: str) -> _Place | None:
    # The path as it was written: the library that fetches resolves dots, and a server may see yet others.
    authority, _, path = rest.partition("#")[0].partition("?")[0].partition("/")
    try:
        parsed = httpx.URL(url)  # what fetches it reads the host by the same rules
    except (httpx.InvalidURL, ValueError):
        return None
    segments = tuple(unquote(part) for part in _segments(path))
    odd = any(not part.isprintable() or any(mark in part for mark in "/\\%") for part in segments)
    if odd or "@" in authority or parsed.userinfo or not parsed.host:
        return None
    host = parsed.raw_host.decode("ascii").lower()
    return _Place(scheme, host, parsed.port or _PORTS[scheme], segments)


def _segments(path: str) -> tuple[str, ...]:
    """The path's parts; a slash at the end makes no further one."""
    parts = path.split("/")
    return tuple(parts[:-1] if parts[-1] == "" else parts)
