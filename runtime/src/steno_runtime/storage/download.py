"""Download to a local file: streamed, limited in size and time, and resumed where the connection broke."""

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

WINDOW_SECONDS = 60.0
"""Of a connection, over which its rate counts: a pause of a source is no fault, but who waits holds a GPU."""
OUTAGE_SECONDS = 300.0
"""Of all tries together, in which nothing need arrive."""

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


@dataclass(frozen=True)
class Limits:
    """What a source may take.

    Attributes:
        max_bytes: more are refused.
        min_bytes_per_second: that it has to deliver in each minute of a connection, and in the mean of all; 0: any.
    """

    max_bytes: int
    min_bytes_per_second: int = 0


def download(
    remote: RemoteFile, destination: Path, *, limits: Limits, check: Check, on_bytes: OnBytes, retry: Retry
) -> None:
    """Write the whole of `remote` to `destination`.

    A try counts as failed only if it got no further than the one before, so an unreliable source is read to its end.

    Args:
        remote: what to read.
        destination: the local file.
        limits: how large and how slow it may be.
        check: called for every chunk; raises to stop.
        on_bytes: see `OnBytes`.
        retry: how a broken connection is retried.

    Raises:
        WorkError: `TooLarge`, `SourceUnavailable` once every try failed or if it is too slow, or what `remote`
            raised.
    """
    received = furthest = failures = 0
    pace = _Pace(remote, limits.min_bytes_per_second)
    with destination.open("wb") as file:
        while True:
            try:
                with remote.open(received) as body:
                    received = _resume(file, body, received)
                    _refuse_large(remote, body.total, limits.max_bytes)
                    pace.begin()
                    for chunk in body.chunks:
                        check()
                        pace.count(len(chunk))
                        pace.check_mean(max(furthest, received + len(chunk)))
                        _write(file.write, chunk)
                        received += len(chunk)
                        _refuse_large(remote, received, limits.max_bytes)
                        on_bytes(received, body.total)
                _refuse_short(received, body.total)
            except Unavailable as error:
                log.warning("reading the source failed", extra={"error": str(error), "received": received})
                if received > furthest:
                    failures, furthest = 1, received
                    pace.check_mean(furthest)
                else:
                    failures += 1
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


class _Pace:
    """The rate of a source: in each window of a connection, and of what it got to in the mean of all tries.

    The mean alone would let a source that began fast drip for hours; windows alone one that breaks off all the time.
    """

    def __init__(self, remote: RemoteFile, least: int) -> None:
        self._remote = remote
        self._least = least
        self._began = self._since = time.monotonic()
        self._arrived = 0

    def begin(self) -> None:
        """Begin a window, with a connection."""
        self._since, self._arrived = time.monotonic(), 0

    def count(self, arrived: int) -> None:
        """Count bytes that arrived.

        Raises:
            WorkError: `SourceUnavailable`: too few did in the window that has ended.
        """
        self._arrived += arrived
        window = time.monotonic() - self._since
        if window >= WINDOW_SECONDS:
            if self._arrived < self._least * window:
                raise self._slow(self._arrived, window)
            self.begin()

    def check_mean(self, furthest: int) -> None:
        """Check the rate since the first try, of which some got to the byte `furthest`.

        Raises:
            WorkError: `SourceUnavailable`: it is too low.
        """
        elapsed = time.monotonic() - self._began
        if furthest < self._least * (elapsed - OUTAGE_SECONDS):
            raise self._slow(furthest, elapsed)

    def _slow(self, arrived: int, seconds: float) -> WorkError:
        return WorkError(
            FailureReason.SOURCE_UNAVAILABLE,
            f"{self._remote.display_uri} comes too slowly: {format_bytes(arrived)} in {seconds:.0f} s, and a worker "
            f"waits for no less than {format_bytes(self._least)} a second. Copy it to a store or volume that is near "
            "the cluster, or have minSourceBytesPerSecond of the RuntimeProfile lowered.",
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
