"""Mounted files: what is below one directory, by path, as Python's `tarfile` filters and web servers resolve it.

A path is looked up as it is if it begins with the directory, else as if the directory were the root of everything: an
unchanged client's `/path/to/audio.wav` is `DIR/path/to/audio.wav`. Symbolic links are followed within the directory
only. The file is copied: what reads it later is not led elsewhere by a link that was put in its place.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.errors import Check, WorkError
from steno_runtime.serve.uploads.body import MAX_UPLOAD_BYTES
from steno_runtime.storage.download import OnBytes, too_large

MAX_PATH_CHARS = 4096
_CHUNK_BYTES = 1024 * 1024
_WITHIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # which opens a pipe without a writer


class MountedFiles:
    """The files below one directory."""

    def __init__(self, root: Path) -> None:
        """Take the directory, which has to exist.

        Raises:
            WorkError: `InvalidSpec`: it does not.
        """
        if not root.is_dir():
            raise WorkError(FailureReason.INVALID_SPEC, f"{root} is not a directory: --audio-root needs one.")
        self._root = root.resolve()
        self._given = PurePosixPath(root.absolute())

    def check(self, path: str) -> None:
        """Check that a path stays below the directory, as far as its text says.

        Raises:
            ApiError: `SourceNotAllowed`.
        """
        parts = path.split("/")
        if not path.isprintable() or len(path) > MAX_PATH_CHARS or ".." in parts or not any(parts):
            message = "audio_url is not a path that is read here: leave `..` and unprintable characters out."
            raise ApiError(ErrorCode.SOURCE_NOT_ALLOWED, message)

    def copy(self, path: str, folder: Path, *, check: Check, on_bytes: OnBytes) -> Path:
        """Copy a file to `folder`, and return the copy.

        Args:
            path: which one.
            folder: where the copy is written.
            check: raises when the copying is to stop.
            on_bytes: called with the bytes copied, and their total.

        Raises:
            ApiError: `SourceNotAllowed`.
            WorkError: `SourceNotFound`, `SourceForbidden`, `SourceUnavailable` or `TooLarge`.
        """
        self.check(path)
        target = folder / "source"
        with _explained(path), self._open(path) as source, target.open("wb") as copy:
            total, copied = os.fstat(source).st_size, 0
            while chunk := os.read(source, _CHUNK_BYTES):
                check()
                copied += len(chunk)
                if max(copied, total) > MAX_UPLOAD_BYTES:
                    raise too_large(path, max(copied, total), MAX_UPLOAD_BYTES)
                copy.write(chunk)
                on_bytes(copied, total)
        return target

    @contextlib.contextmanager
    def _open(self, path: str) -> Generator[int]:
        """Open a file step by step, so that no link that comes meanwhile is followed."""
        given = PurePosixPath(path)
        roots = [each for each in (self._given, self._root) if given.is_relative_to(each)]
        real = (self._root / (given.relative_to(roots[0]) if roots else path.lstrip("/"))).resolve()
        if not real.is_relative_to(self._root):
            message = f"{path} is a link that leads elsewhere, where nothing is read."
            raise ApiError(ErrorCode.SOURCE_NOT_ALLOWED, message)
        *folders, name = real.relative_to(self._root).parts or (".",)
        opened = [os.open(self._root, _WITHIN | os.O_DIRECTORY)]
        try:
            for each in folders:
                opened.append(os.open(each, _WITHIN | os.O_DIRECTORY, dir_fd=opened[-1]))
            opened.append(os.open(name, _WITHIN, dir_fd=opened[-1]))
            if not stat.S_ISREG(os.fstat(opened[-1]).st_mode):
                raise IsADirectoryError
            yield opened[-1]
        finally:
            for each in opened:
                os.close(each)


@contextlib.contextmanager
def _explained(path: str) -> Generator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        message = f"There is no {path} below the server's audio root. Check spelling and case."
        raise WorkError(FailureReason.SOURCE_NOT_FOUND, message) from None
    except IsADirectoryError:
        raise WorkError(FailureReason.SOURCE_NOT_FOUND, f"{path} is not a file. Name one file.") from None
    except PermissionError:
        message = f"The server may not read {path}. Make the file readable to it."
        raise WorkError(FailureReason.SOURCE_FORBIDDEN, message) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise WorkError(FailureReason.SOURCE_UNAVAILABLE, f"{path} could not be read: {why}.") from None
