"""Sources: fetch a task's source to a local file, by its scheme."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from steno_api.failures import FailureReason
from steno_api.worker.task import EgressRules, TaskSource
from steno_runtime.errors import Check, WorkError
from steno_runtime.storage.common import Retry, redact
from steno_runtime.storage.download import Limits, OnBytes, RemoteFile, download, too_large

_MEDIA_SUFFIX_CHARS = 6
_MAX_URI_CHARS = 8192


def fetch(
    source: TaskSource,
    scratch: Path,
    *,
    check: Check,
    on_bytes: OnBytes,
    egress: EgressRules | None = None,
    retry: Retry | None = None,
    allowed: Callable[[str], bool] | None = None,
) -> Path:
    """Return a local file with the source's bytes: in `scratch`, or for a volume the mounted file itself.

    Args:
        source: where it is.
        scratch: a directory for the file.
        check: called often; raises to stop.
        on_bytes: called with the bytes received.
        egress: networks that it may be on; None: all that are not always denied.
        retry: how a broken connection is retried; None: the usual way.
        allowed: whether a URL that a web server redirects to may be followed; None: all may be.

    Raises:
        WorkError: `SourceNotFound`, `SourceForbidden`, `SourceUnavailable`, `TooLarge` or `InvalidSpec`.
    """
    shown = source.uri
    if source.uri_file is not None:
        source = source.model_copy(update={"uri": _secret_uri(source)})
    scheme = source.uri.partition("://")[0].lower()
    if source.path is not None:
        return _mounted(source.uri, Path(source.path), source.max_bytes)
    remote: RemoteFile
    if scheme == "s3":
        from steno_runtime.storage.s3 import S3Source

        remote = S3Source(source, egress or EgressRules())
    elif scheme in ("http", "https"):
        from steno_runtime.storage.web import WebSource

        remote = WebSource(source, egress or EgressRules(), allowed, shown=shown if source.uri_file else None)
    else:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"{redact(source.uri)} cannot be read: source.uri must begin with s3://, https://, http:// or pvc://.",
        )
    scratch.mkdir(parents=True, exist_ok=True)
    destination = scratch / f"source{_suffix(source.uri)}"
    download(
        remote,
        destination,
        limits=Limits(source.max_bytes, source.min_bytes_per_second),
        check=check,
        on_bytes=on_bytes,
        retry=retry or Retry(),
    )
    return destination


def _secret_uri(source: TaskSource) -> str:
    """Return the URL in the file of a source's Secret.

    Raises:
        WorkError: `InvalidSpec`, with nothing of what is there: it may be something else.
    """
    path = Path(source.uri_file or "")
    try:
        uri = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = f"the Secret's key {path.name} cannot be read ({type(error).__name__})"
        raise WorkError(FailureReason.INVALID_SPEC, f"{source.uri} has no URL: {why}.") from None
    if not uri.lower().startswith("https://") or len(uri) > _MAX_URI_CHARS or not uri.isprintable() or " " in uri:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"{source.uri} has no URL: the Secret's key {path.name} must be one https:// URL of at most "
            f"{_MAX_URI_CHARS} characters.",
        )
    return uri


def _mounted(uri: str, path: Path, max_bytes: int) -> Path:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WorkError(
                FailureReason.SOURCE_NOT_FOUND, f"{uri} is not a file. Give the path of one file in the volume."
            )
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WorkError(
            FailureReason.SOURCE_NOT_FOUND,
            f"{uri} does not exist in the volume. Paths begin at the volume's root; check spelling and case.",
        ) from error
    except PermissionError as error:
        raise WorkError(
            FailureReason.SOURCE_FORBIDDEN,
            f"The worker (user 65532, group 65532) is not allowed to read {uri}. Make the file readable to that group "
            "or to all.",
        ) from error
    except OSError as error:
        raise WorkError(
            FailureReason.SOURCE_UNAVAILABLE, f"{uri} could not be read: {error.strerror}. Check the volume."
        ) from error
    if status.st_size > max_bytes:
        raise too_large(uri, status.st_size, max_bytes)
    return path


def _suffix(uri: str) -> str:
    """Return the URI's file extension, a hint for the demuxer; empty if it does not look like one."""
    try:
        path = uri if uri.startswith("s3://") else unquote(urlsplit(uri).path)
    except ValueError:  # `http://[`: connecting to it raises a better error
        return ""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= _MEDIA_SUFFIX_CHARS else ""
