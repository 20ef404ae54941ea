"""The checkout, and the cache that outlives it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository's root."""


def cache() -> Path:
    """Return the cache folder, shared by every checkout of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steno"


def cache_folder(*parts: str) -> Path:
    """Return a folder under the cache, made when it is missing."""
    folder = cache().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file's content so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    draft.replace(path)


@contextmanager
def locked(name: str, *, shared: bool = False, wait: bool = True) -> Generator[bool]:
    """Hold a lock that other threads and processes of this user respect; it is released when the process ends.

    Args:
        name: the lock's name.
        shared: lets others hold it too, if they also share it.
        wait: whether to wait for it; yields False at once where it is taken and this says no.
    """
    with (cache_folder("locks") / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
