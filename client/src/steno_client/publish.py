"""Where documents go: standard output, or files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steno_client.errors import EXIT_CANNOT_WRITE, CommandError

Targets = dict[str, Path | None]
"""Format → its file; None: standard output."""

Write = Callable[[str, Path], None]
"""Writes a format of the document to a path."""

EXTENSIONS = {"markdown": "md"}
"""Of formats that are not named as their files are."""


def folder(path: str) -> Path:
    """Makes a directory to write into.

    Raises:
        CommandError: it cannot be made or written to.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"cannot make the directory {directory}: {error.strerror}: choose another --output", EXIT_CANNOT_WRITE
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CommandError(f"the directory {directory} is not writable: choose another --output", EXIT_CANNOT_WRITE)
    return directory


def targets(source: Path, formats: Sequence[str], output: str) -> Targets:
    """Decides, before the work is done, where each format goes; makes the directory.

    Raises:
        CommandError: the directory cannot be made or written to, or a document would replace its own source.
    """
    if output == "-":
        return dict.fromkeys(formats)
    directory = folder(output)
    files: Targets = {name: directory / f"{source.stem}.{EXTENSIONS.get(name, name)}" for name in formats}
    for path in files.values():
        if path is not None and path.resolve() == source.resolve():
            raise CommandError(f"{path} would replace its own source: choose another --output", EXIT_CANNOT_WRITE)
    return files


@contextmanager
def draft_of(path: Path) -> Generator[Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` at the end, unless something is raised.

    Raises:
        CommandError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}", EXIT_CANNOT_WRITE) from error
    finally:
        draft.unlink(missing_ok=True)


def publish(write: Write, files: Targets) -> None:
    """Writes every format, and names each file written on standard error.

    Raises:
        CommandError: a file cannot be written.
    """
    for name, path in files.items():
        if path is None:
            with tempfile.TemporaryDirectory(prefix="steno-") as scratch:
                file = Path(scratch) / name
                write(name, file)
                to_stdout(file)
            continue
        with draft_of(path) as draft:
            write(name, draft)
        print(path, file=sys.stderr)


def to_stdout(file: Path) -> None:
    """Copies a file to standard output, and ends text with a line's end."""
    out = sys.stdout.buffer
    with file.open("rb") as content:
        shutil.copyfileobj(content, out)
        ended = not content.tell() or (content.seek(-1, os.SEEK_END), content.read(1))[1] == b"\n"
    if not ended and file.name != "pdf":
        out.write(b"\n")
    out.flush()
