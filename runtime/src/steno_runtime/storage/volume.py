"""Output directory on a mounted volume: temporary files, then hard links for create-if-absent."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

log = logging.getLogger(__name__)

_TEMPORARY_SUFFIX = ".steno-tmp"
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class VolumeOutput:
    """A directory of a volume, whose objects appear as a whole and never change."""

    def __init__(self, uri: str, directory: Path) -> None:
        self.uri = uri
        self._directory = directory

    def check_writable(self) -> None:
        """See `OutputDirectory`."""
        try:
            temporary = self._write_temporary("write-check", b"")
            temporary.unlink()
        except OSError as error:
            raise self._translate(error) from error

    def read(self, name: str) -> bytes | None:
        """See `OutputDirectory`."""
        try:
            return (self._directory / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as error:
            raise self._translate(error) from error

    def create(self, name: str, data: bytes, content_type: str) -> bool:  # noqa: ARG002  (files have none)
        """See `OutputDirectory`. The data is on the disk before its name is."""
        try:
            temporary = self._write_temporary(name, data)
            try:
                created = self._link(temporary, self._directory / name)
            finally:
                temporary.unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            raise self._translate(error) from error
        return created

    def cleanup(self) -> None:
        """See `OutputDirectory`.

        A writer that is still active loses its temporary file, after it had lost the race anyway.
        """
        with contextlib.suppress(OSError):
            for leftover in self._directory.glob(f".*{_TEMPORARY_SUFFIX}"):
                leftover.unlink(missing_ok=True)

    def _write_temporary(self, name: str, data: bytes) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        temporary = self._directory / f".{name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _link(self, temporary: Path, final: Path) -> bool:
        try:
            os.link(temporary, final)
        except FileExistsError:
            return False
        except FileNotFoundError:
            if final.exists():  # `cleanup` of a faster writer
                return False
            raise
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # A file system without hard links: what exists is still kept, but two writers in the same instant race.
            if final.exists():
                return False
            temporary.rename(final)
        return True

    def _sync_directory(self) -> None:
        # Some network file systems cannot sync a directory, and make names durable by themselves.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _translate(self, error: OSError) -> WorkError:
        log.warning("the output volume failed", extra={"error": str(error)})
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return WorkError(
                FailureReason.OUTPUT_FORBIDDEN,
                f"The worker (user 65532, group 65532) is not allowed to write {self.uri}: {error.strerror}. "
                "Make the directory writable to that group, and the volume not read-only.",
            )
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST):
            return WorkError(
                FailureReason.INVALID_SPEC,
                f"{self.uri} cannot be a directory of results: {error.strerror}. Choose another output.uri.",
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return WorkError(
                FailureReason.OUTPUT_UNAVAILABLE, f"The volume of {self.uri} is full. Free space on it or enlarge it."
            )
        return WorkError(
            FailureReason.OUTPUT_UNAVAILABLE, f"{self.uri} could not be written: {error.strerror}. Check the volume."
        )
