"""URL allow list: a client may have the server fetch what is under the pool's `allowedSources`, and nothing else.

A server without a cluster may also have a directory of its own machine, whose files are named by their paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import httpx

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.task import PoolOutput
from steno_api.v1alpha1.runtimeprofile import MIN_SOURCE_RATE
from steno_api.worker.task import EgressRules, TaskSource
from steno_runtime.errors import Check, WorkError
from steno_runtime.serve.uploads.body import MAX_UPLOAD_BYTES
from steno_runtime.serve.uploads.mounted_files import MountedFiles
from steno_runtime.storage import fetch
from steno_runtime.storage.download import OnBytes

MAX_URL_CHARS = 4096
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class _Location:
    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...]


class AllowedSources:
    """The allowed sources of a pool."""

    def __init__(
        self,
        allowed: Sequence[str],
        store: PoolOutput | None,
        egress: EgressRules | None = None,
        files: MountedFiles | None = None,
        *,
        least_rate: int = MIN_SOURCE_RATE,
    ) -> None:
        """Parse the prefixes.

        Args:
            allowed: the prefixes.
            store: how S3 is reached.
            egress: networks that sources may be on; None: all that are not always denied.
            files: what paths name; None: nothing.
            least_rate: bytes a second that a source has to deliver.

        Raises:
            WorkError: `InvalidSpec`: one of them is not a URL.
        """
        self._prefixes = [_prefix(url) for url in allowed]
        self._store = store
        self._egress = egress
        self._files = files
        self._least_rate = least_rate

    def allows(self, url: str) -> bool:
        """Return whether `url` is at, or under, one of the prefixes.

        Paths are compared segment by segment, after decoding; a URL with credentials, or with a segment that a server
        could take for another one (`..`, an encoded slash), is not.
        """
        location = _location(url)
        return location is not None and any(_under(location, prefix) for prefix in self._prefixes)

    def check(self, url: str) -> None:
        """Check that a URL, or the path of a mounted file, is allowed.

        Raises:
            ApiError: `SourceNotAllowed`.
        """
        if self._files is not None and _is_path(url):
            self._files.check(url)
        elif not self.allows(url):
            raise ApiError(
                ErrorCode.SOURCE_NOT_ALLOWED,
                "The server may not fetch this: it is no allowed source. Upload the file, or have it allowed "
                "(spec.allowedSources of a RuntimePool; --allow-source or, for paths, --audio-root of `steno serve`).",
            )

    def fetch(self, url: str, folder: Path, *, check: Check, on_bytes: OnBytes) -> Path:
        """Download an allowed URL to a file in `folder`, or copy a mounted file.

        A redirect to a URL that is not allowed is not followed.

        Args:
            url: what to fetch.
            folder: where the file is written.
            check: raises when the download is to stop.
            on_bytes: called with the bytes received, and their total if it is known.

        Raises:
            ApiError: `SourceNotAllowed`: a path is a link that leads elsewhere.
            WorkError: see `storage.fetch`.
        """
        if self._files is not None and _is_path(url):
            return self._files.copy(url, folder, check=check, on_bytes=on_bytes)
        source = TaskSource(uri=url, max_bytes=MAX_UPLOAD_BYTES, min_bytes_per_second=self._least_rate)
        if url.startswith("s3://") and self._store is not None:
            store = self._store
            source = source.model_copy(
                update={
                    "endpoint_url": store.endpoint_url,
                    "region": store.region,
                    "credentials_dir": store.credentials_dir,
                }
            )
        return fetch(source, folder, check=check, on_bytes=on_bytes, egress=self._egress, allowed=self.allows)


def _is_path(url: str) -> bool:
    return "://" not in url


def _prefix(url: str) -> _Location:
    location = _location(url)
    if location is None:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            "allowedSources has an entry that is not an https://, http:// or s3:// URL without credentials.",
        )
    return location


def _under(location: _Location, prefix: _Location) -> bool:
    same = (location.scheme, location.host, location.port) == (prefix.scheme, prefix.host, prefix.port)
    return same and location.segments[: len(prefix.segments)] == prefix.segments


def _location(url: str) -> _Location | None:
    """Return where a URL points; None if that is not certain."""
    if len(url) > MAX_URL_CHARS or not url.isprintable() or "\\" in url or " " in url:
        return None
    scheme, _, rest = url.partition("://")
    location = _bucket(rest) if scheme == "s3" else _site(url, scheme, rest) if scheme in _PORTS else None
    if location is None or any(part in {".", "..", ""} for part in location.segments):
        return None
    return location


def _bucket(rest: str) -> _Location | None:
    # No library parses this as a URL: bucket and key are taken as they are written.
    bucket, _, key = rest.partition("/")
    if not bucket or any(mark in bucket for mark in "@:?#%"):
        return None
    return _Location("s3", bucket, None, _segments(key))


def _site(url: str, scheme: str, rest: str) -> _Location | None:
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
    return _Location(scheme, host, parsed.port or _PORTS[scheme], segments)


def _segments(path: str) -> tuple[str, ...]:
    """Return the path's parts; a slash at the end does not make another one."""
    parts = path.split("/")
    return tuple(parts[:-1] if parts[-1] == "" else parts)
