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
def locked(name: str) -> Generator[None]:
    """Hold a lock that other processes of this user respect; it is released when the process ends."""
    with (cache_folder("locks") / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
