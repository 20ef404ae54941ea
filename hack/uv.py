"""uv, pinned, and the project's environment: made by uv from the lock file, in a cache shared by every checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hack.paths import ROOT, cache_folder, locked
from hack.steps import MissingError, run, step, succeeds

VERSION = "0.13.8"
VENV = ROOT / ".venv"
CLIENT_VENV = ROOT / ".venv-client"


def path() -> Path:
    """Return the pinned uv; installed into the cache from its package when it is not there."""
    folder = cache_folder("uv-bin") / VERSION
    uv = folder / "bin" / "uv"
    with locked("uv"):
        if not succeeds([uv, "--version"]):
            if not succeeds([sys.executable, "-c", "import ensurepip, venv"]):
                raise MissingError("Python's venv module", "Install it: apt-get install python3-venv")
            with step(f"installing uv {VERSION}"):
                run([sys.executable, "-m", "venv", "--clear", folder])
                run([folder / "bin" / "pip", "install", "--quiet", f"uv=={VERSION}"])
    return uv


def environment() -> dict[str, str]:
    """Return variables of every uv call: the shared cache, and links from it instead of copies."""
    return {"UV_CACHE_DIR": str(cache_folder("uv")), "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink")}


def sync() -> None:
    """Make `.venv` as uv.lock says (7 GB the first time: torch for GPUs is most of it)."""
    with step("Python packages (uv sync; several GB the first time)"):
        run([path(), "sync", "--locked", "--all-packages"], cwd=ROOT, env=environment())


def client() -> Path:
    """Return the program `steno`, in a small environment of its own that has no models' libraries."""
    with step("the command line (uv sync --package steno-client)"):
        environment_of_its_own = {**environment(), "UV_PROJECT_ENVIRONMENT": str(CLIENT_VENV)}
        run([path(), "sync", "--locked", "--no-dev", "--package", "steno-client"], cwd=ROOT, env=environment_of_its_own)
    return CLIENT_VENV / "bin" / "steno"


def tool(*words: str) -> list[str]:
    """Return the command line of a program of the environment."""
    return [str(VENV / "bin" / words[0]), *words[1:]]
