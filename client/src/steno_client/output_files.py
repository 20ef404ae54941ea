"""Output files: atomic writes, and copies to standard output."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steno_client.errors import EXIT_CANNOT_WRITE, CommandError
from steno_client.formatting import strip_escapes

OutputPaths = dict[str, Path | None]
"""The file of each format; None means standard output."""

WriteFormat = Callable[[str, Path], None]
"""Write the document in a format to a path."""

EXTENSIONS = {"markdown": "md"}
"""File extensions that differ from the name of the format."""


def make_directory(path: str) -> Path:
    """Create a directory to write into, unless it exists.

    Raises:
        CommandError: it cannot be created or is not writable.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"cannot create the directory {directory}: {error.strerror}: choose another --output", EXIT_CANNOT_WRITE
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CommandError(f"the directory {directory} is not writable: choose another --output", EXIT_CANNOT_WRITE)
    return directory


def prepare_outputs(source: Path, formats: Sequence[str], output: str) -> OutputPaths:
    """Decide where each format is written and create the directory, before any work is done.

    Args:
        source: the file that is read; outputs take its name.
        formats: the formats to write.
        output: a directory, or `-` for standard output.

    Raises:
        CommandError: the directory cannot be created or written to, or an output would overwrite the source.
    """
    if output == "-":
        return dict.fromkeys(formats)
    directory = make_directory(output)
    paths: OutputPaths = {name: directory / f"{source.stem}.{EXTENSIONS.get(name, name)}" for name in formats}
    for path in paths.values():
        if path is not None and path.resolve() == source.resolve():
            raise CommandError(f"{path} would overwrite its own source: choose another --output", EXIT_CANNOT_WRITE)
    return paths


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`, and move it to `path` at the end unless something was raised.

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


def write_outputs(write: WriteFormat, paths: OutputPaths) -> Iterator[Path]:
    """Write each format, and yield the path of each file once it is complete.

    Args:
        write: writes one format.
        paths: where each format is written.

    Raises:
        CommandError: a file cannot be written; the others have been.
    """
    failures: list[CommandError] = []
    for name, path in paths.items():
        try:
            if path is None:
                with tempfile.TemporaryDirectory(prefix="steno-") as scratch:
                    file = Path(scratch) / name
                    write(name, file)
                    copy_to_stdout(file)
                continue
            with atomic_write(path) as draft:
                write(name, draft)
        except CommandError as error:
            failures.append(error)
        else:
            yield path
    if failures:
        raise failures[0]


def copy_to_stdout(file: Path) -> None:
    """Copy a file to standard output; text is terminated with a newline, and a terminal gets no escapes of others."""
    if sys.stdout.isatty():
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                sys.stdout.write(strip_escapes(line.rstrip("\n")) + "\n")
        sys.stdout.flush()
        return
    out = sys.stdout.buffer
    with file.open("rb") as content:
        shutil.copyfileobj(content, out)
        terminated = not content.tell() or (content.seek(-1, os.SEEK_END), content.read(1))[1] == b"\n"
    if not terminated and file.name != "pdf":
        out.write(b"\n")
    out.flush()
