"""Write generated files, or compare them with the committed ones."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def differences(folder: Path, texts: Mapping[str, str], *, alone: bool = False) -> str:
    """Return a unified diff from the files in `folder` to the generated ones; empty when they are the same.

    Args:
        folder: the files to compare.
        texts: generated files, name → text.
        alone: count YAML files that are not in `texts` as different too.
    """
    wanted = dict(texts)
    if alone:
        wanted |= {path.name: "" for path in folder.glob("*.yaml") if path.name not in texts}
    lines: list[str] = []
    for name, text in sorted(wanted.items()):
        path = folder / name
        old = path.read_text() if path.exists() else ""
        lines += difflib.unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), str(path), f"{path} (generated)"
        )
    return "".join(lines)


def run(
    command: str,
    texts: Mapping[str, str],
    folders: Sequence[Path],
    *,
    alone: bool = False,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a generator's command line, `[--check] [DIRECTORY]`, and return its exit code.

    Args:
        command: the command, for its help and messages.
        texts: generated files, name → text.
        folders: where to write them if no directory is given, relative to the repository's root.
        alone: delete YAML files that are not in `texts`, and count them as different in a check.
        arguments: default: those of the process.
    """
    parser = argparse.ArgumentParser(prog=command)
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff when files are outdated")
    parser.add_argument("directory", nargs="?", type=Path, help=f"default: {', '.join(map(str, folders))}")
    options = parser.parse_args(arguments)
    targets: Sequence[Path] = [options.directory] if options.directory else folders
    if options.check:
        diff = "".join(differences(folder, texts, alone=alone) for folder in targets)
        if diff:
            sys.stdout.write(diff)
            sys.stderr.write(f"outdated: run `{command}` and commit what it writes\n")
        return 1 if diff else 0
    for folder in targets:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        if alone:
            for path in folder.glob("*.yaml"):
                if path.name not in texts:
                    path.unlink()
    return 0
