"""Where transcripts go: standard output, or files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from steno_api.transcript import Transcript
from steno_client.errors import EXIT_CANNOT_WRITE, CommandError
from steno_runtime.stt.writers import WRITERS

Targets = dict[str, Path | None]
"""Format → its file; None: standard output."""


def targets(source: Path, formats: Sequence[str], output: str) -> Targets:
    """Decides, before the work is done, where each format goes; makes the directory.

    Raises:
        CommandError: the directory cannot be made or written to, or a transcript would replace its own source.
    """
    if output == "-":
        return dict.fromkeys(formats)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the directory {folder}: {error.strerror}", EXIT_CANNOT_WRITE) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"the directory {folder} is not writable: choose another --output", EXIT_CANNOT_WRITE)
    files: Targets = {name: folder / f"{source.stem}.{name}" for name in formats}
    for path in files.values():
        if path is not None and path.resolve() == source.resolve():
            raise CommandError(f"{path} would replace what is transcribed: choose another --output", EXIT_CANNOT_WRITE)
    return files


def publish(transcript: Transcript, files: Targets) -> None:
    """Writes every format, and names each file written on standard error.

    Raises:
        CommandError: a file cannot be written.
    """
    for name, path in files.items():
        content = WRITERS[name](transcript)
        if path is None:
            sys.stdout.buffer.write(content if content.endswith(b"\n") else content + b"\n")
            sys.stdout.buffer.flush()
            continue
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(content)
            draft.replace(path)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}", EXIT_CANNOT_WRITE) from error
        finally:
            draft.unlink(missing_ok=True)
        print(path, file=sys.stderr)
