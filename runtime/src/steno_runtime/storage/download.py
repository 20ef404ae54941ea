"""Download to a local file: streamed, limited in size, and resumed where the connection broke."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from steno_api.failures import FailureReason
from steno_api.sizes import format_bytes
from steno_runtime.errors import Check, WorkError
from steno_runtime.storage.common import Retry, Unavailable

log = logging.getLogger(__name__)

LEAST_RATE = 16 * 1024
"""Bytes a second in the mean that a source has to send: whoever waits for it holds an accelerator."""
PATIENCE = 60.0
"""Seconds of waiting that do not count."""

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes received so far and, if known, the bytes in all."""


@dataclass(frozen=True)
class Body:
    """An open response.

    Attributes:
        offset: where in the object `chunks` begin: the offset asked for, or 0 if the server cannot resume.
        total: size of the whole object in bytes, if known.
        chunks: the bytes; raises `Unavailable` when the connection breaks.
    """

    offset: int
    total: int | None
    chunks: Iterator[bytes]


class RemoteFile(Protocol):
    """A file on a server that can be read from an offset on."""

    @property
    def display_uri(self) -> str:
        """The URI without secrets."""
        ...

    def open(self, offset: int) -> AbstractContextManager[Body]:
        """Open the body at `offset`.

        Raises:
            Unavailable: it may succeed when tried again.
            WorkError: it will not.
        """
        ...


def download(
    remote: RemoteFile, destination: Path, *, max_bytes: int, check: Check, on_bytes: OnBytes, retry: Retry
) -> None:
    """Write the whole of `remote` to `destination`.

    A try counts as failed only if it got no further than the one before, so a slow, unreliable source is read to its
    end.

    Args:
        remote: what to read.
        destination: the local file.
        max_bytes: more are refused.
        check: called for every chunk; raises to stop.
        on_bytes: see `OnBytes`.
        retry: how a broken connection is retried.

    Raises:
        WorkError: `TooLarge`, `SourceUnavailable` once every try failed or if it takes too long, or what `remote`
            raised.
    """
    received = furthest = failures = arrived = 0
    waited = 0.0
    with destination.open("wb") as file:
        while True:
            try:
                with remote.open(received) as body:
                    received = _resume(file, body, received)
                    _refuse_large(remote, body.total, max_bytes)
                    asked = time.monotonic()
                    for chunk in body.chunks:
                        check()
                        waited += time.monotonic() - asked
                        arrived += len(chunk)
                        _refuse_slow(remote, arrived, waited)
                        _write(file.write, chunk)
                        received += len(chunk)
                        _refuse_large(remote, received, max_bytes)
                        on_bytes(received, body.total)
                        asked = time.monotonic()
                _refuse_short(received, body.total)
            except Unavailable as error:
                failures = 1 if received > furthest else failures + 1
                furthest = max(furthest, received)
                log.warning("reading the source failed", extra={"error": str(error), "received": received})
                if failures >= retry.attempts:
                    raise WorkError(
                        FailureReason.SOURCE_UNAVAILABLE,
                        f"{remote.display_uri} could not be read: {error} ({failures} tries). "
                        "Check that the server is up and reachable from the cluster.",
                    ) from error
                retry.pause(failures, check)
            else:
                return


def too_large(display_uri: str, size: int, max_bytes: int) -> WorkError:
    """Return the error for a source that is too large.

    Args:
        display_uri: the source's URI, without secrets.
        size: of the source, at least, in bytes.
        max_bytes: the limit.
    """
    return WorkError(
        FailureReason.TOO_LARGE,
        f"{display_uri} has {format_bytes(size)} or more; the limit is {format_bytes(max_bytes)}. "
        "Extract its audio track, compress it (e.g. to Opus or M4A), or split it.",
    )


def _refuse_large(remote: RemoteFile, size: int | None, max_bytes: int) -> None:
    if size is not None and size > max_bytes:
        raise too_large(remote.display_uri, size, max_bytes)


def _refuse_slow(remote: RemoteFile, arrived: int, waited: float) -> None:
    if arrived < LEAST_RATE * (waited - PATIENCE):
        raise WorkError(
            FailureReason.SOURCE_UNAVAILABLE,
            f"{remote.display_uri} comes too slowly: {format_bytes(arrived)} in {waited:.0f} s. Copy it to a store "
            "that is near the cluster.",
        )


def _refuse_short(received: int, total: int | None) -> None:
    if total is not None and received != total:
        raise Unavailable(f"the connection was closed after {received} of {total} bytes")


def _resume(file: BinaryIO, body: Body, received: int) -> int:
    """Move `file` to where `body` begins: where the last try ended, or the start."""
    if body.offset not in (0, received):
        raise Unavailable("the server sent a part that was not requested")
    file.seek(body.offset)
    file.truncate()
    return body.offset


def _write(write: Callable[[bytes], int], chunk: bytes) -> None:
    try:
        write(chunk)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WorkError(
            FailureReason.TOO_LARGE,
            "The worker's scratch volume is full: the source does not fit. Extract its audio track, or give the "
            "RuntimeProfile a larger scratch volume.",
        ) from error
