"""Key files: records of API keys as one JSON object in a file, or as a directory like a mounted Secret.

`steno key --file` writes them, and a server without Kubernetes looks at them again every second. They have digests
only, and may be read by anyone; whoever can write them can make keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

from steno_api.gateway.known_keys import ApiKeys

log = logging.getLogger(__name__)

RELOAD_SECONDS = 1.0
"""How often a server looks at them."""
TOLERATED_READS = 1
"""That may fail in a row before no key is valid: an editor may be in the middle of writing."""


class KeyFileError(Exception):
    """A file of keys cannot be used; the message says why."""


def read_entries(path: Path) -> dict[str, bytes]:
    """Return the records as JSON by ID: of a file, or of a directory with a file for each.

    Raises:
        KeyFileError: it cannot be read, or is not such a file.
    """
    try:
        if path.is_dir():  # the kubelet keeps the versions of a Secret in entries that begin with a dot
            return {each.name: each.read_bytes() for each in path.iterdir() if not each.name.startswith(".")}
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise KeyFileError(f"{path} is not JSON") from error
    if not isinstance(document, dict):
        raise KeyFileError(f"{path} is not a JSON object with a record for each key's ID")
    records = cast("dict[str, Any]", document)
    return {name: json.dumps(record).encode() for name, record in records.items()}


def change_entries(path: Path, changes: Mapping[str, str | None]) -> None:
    """Write records; readers see the file before or after the change, and two writers lose nothing of each other.

    Args:
        path: the file, which need not exist, or a directory.
        changes: JSON by ID; None deletes the record.

    Raises:
        KeyFileError: it cannot be read or written.
    """
    try:
        with _locked(path if path.is_dir() else path.parent):
            if path.is_dir():
                for name, record in changes.items():
                    if record is None:
                        (path / name).unlink(missing_ok=True)
                    else:
                        _replace(path / name, record)
                return
            entries = read_entries(path) if path.exists() else {}
            kept = {name: json.loads(record) for name, record in entries.items() if name not in changes}
            added = {name: json.loads(record) for name, record in changes.items() if record is not None}
            _replace(path, json.dumps(kept | added, indent=2) + "\n")
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error


class KeyFile:
    """Keeps the keys that are valid up to date with a file or directory."""

    def __init__(self, path: Path) -> None:
        """Read it for the first time.

        Raises:
            KeyFileError: it cannot be read.
        """
        self.keys = ApiKeys()
        self._path = path
        self._entries = read_entries(path)
        self._failed = 0
        self.keys.update(str(path), self._entries)

    async def watch(self, on_look: Callable[[], None]) -> None:
        """Go on reading it; until cancelled.

        Args:
            on_look: called each time, for what a key that was revoked or has expired has begun.
        """
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            await asyncio.to_thread(self.look)
            on_look()

    def look(self) -> None:
        """Read it again. One that cannot be read twice in a row lets nobody in: it may say that a key is revoked."""
        try:
            entries, self._failed = read_entries(self._path), 0
        except KeyFileError as error:
            self._failed += 1
            if self._failed != TOLERATED_READS + 1:
                return
            log.error("no API key is valid until their file can be read", extra={"why": str(error)})  # noqa: TRY400
            entries = {}
        if entries != self._entries:
            self._entries = entries
            self.keys.update(str(self._path), entries)
            log.info("the API keys have changed", extra={"keys": len(entries)})


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, text: str) -> None:
    """Write a file at once, with the permissions that it had, or those of any new file."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    descriptor, draft = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).chmod(mode)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
