"""Docker's command line: builds, and what the daemon has."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from hack.paths import cache_folder, locked, write_atomic
from hack.steps import CommandError, output, run, say, step, succeeds

REMEMBER_SECONDS = 6 * 3600


def running() -> bool:
    """Return whether a Docker daemon answers."""
    return shutil.which("docker") is not None and succeeds(
        ["docker", "version", "--format", "{{.Server.Version}}"], timeout=20
    )


def exists(kind: str, name: str) -> bool:
    """Return whether the daemon has an object of a kind (`image`, `container`, `network`).

    Raises:
        CommandError: the daemon did not answer in time: a busy one must not look like an empty one.
    """
    try:
        output(["docker", kind, "inspect", "--format", "x", name], timeout=300)
    except CommandError as err:
        if err.status is None or ("no such" not in err.output.lower() and "not found" not in err.output.lower()):
            raise
        return False
    return True


def image_exists(tag: str) -> bool:
    """Return whether the daemon has an image."""
    return exists("image", tag)


def image_id(tag: str) -> str:
    """Return an image's id, `sha256:…`."""
    return output(["docker", "image", "inspect", "--format", "{{.Id}}", tag])


def build(
    tag: str,
    context: Path,
    *,
    dockerfile: Path | None = None,
    build_args: dict[str, str] | None = None,
    target: str = "",
) -> None:
    """Build an image on the host's network; what the build prints goes to the log.

    Args:
        tag: the image's name.
        context: the folder that the build may read.
        dockerfile: the Dockerfile; `Dockerfile` of the context by default.
        build_args: build arguments.
        target: the stage to build; the last one by default.
    """
    command: list[str | Path] = ["docker", "build", "--network", "host", "-t", tag]
    if target:
        command += ["--target", target]
    if dockerfile:
        command += ["-f", dockerfile]
    for name, value in (build_args or {}).items():
        command += ["--build-arg", f"{name}={value}"]
    with locked("docker-build", shared=True):
        run([*command, context], env={"DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", _buildkit())})
    prune()


def _buildkit() -> str:
    """Return `1` where the command line has BuildKit, the builder of current releases."""
    return "1" if succeeds(["docker", "buildx", "version"]) else "0"


def prune() -> None:
    """Delete what builds leave behind that another build would not use: stages with sources, and untagged images.

    While a build goes on, it would delete that one's: then the next call does it.
    """
    with locked("docker-build", wait=False) as alone:
        if not alone:
            return
        succeeds(["docker", "image", "prune", "-f", "--filter", "label=dev.steno.build"], timeout=300)


def pull(reference: str, timeout: float = 600) -> bool:
    """Pull a public image; return False where its registry cannot be reached (an answer kept for some hours)."""
    if image_exists(reference):
        return True
    note = cache_folder("docker") / "hub-unreachable"
    if note.exists() and time.time() - note.stat().st_mtime < REMEMBER_SECONDS:
        return False
    if not succeeds(["docker", "manifest", "inspect", reference], timeout=15):
        write_atomic(note, "no answer\n")
        return False
    with step(f"pulling {reference}"):
        if succeeds(["docker", "pull", "-q", reference], timeout=timeout):
            return True
    say(f"{reference} cannot be pulled")
    return False
