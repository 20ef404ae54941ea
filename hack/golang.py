"""A Go toolchain: the machine's own when it is new enough, else one from the Go module proxy."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from hack.paths import cache_folder, locked
from hack.steps import Missing, StepError, output, step

VERSION = "1.26.8"
SHA256 = {
    "amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
    "arm64": "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
}
OLDEST = (1, 26)
PROXY = "https://proxy.golang.org"


def parse_version(text: str) -> tuple[int, int] | None:
    """`go1.26.8` → (1, 26); None for what is no release."""
    found = re.match(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def machine() -> str:
    """This machine's architecture, as Go and Debian name it."""
    names = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    try:
        return names[platform.machine().lower()]
    except KeyError:
        raise Missing("a 64-bit x86 or ARM machine", f"This one is {platform.machine()}.") from None


@functools.cache
def go() -> Path:
    """The `go` program to use."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        if found and Path(found).exists():
            version = parse_version(output([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}))
            if version and version >= OLDEST:
                return Path(found)
    return _downloaded()


@functools.cache
def go_version() -> str:
    """The toolchain's version, such as `go1.26.8`."""
    return output([go(), "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})


def _downloaded() -> Path:
    if platform.system() != "Linux":
        raise Missing(f"Go {VERSION}", "Install it from https://go.dev/dl/ and put it on PATH.")
    arch = machine()
    home = cache_folder("go") / f"go{VERSION}"
    with locked("go"):
        if not (home / "bin" / "go").exists():
            with step(f"downloading Go {VERSION}"):
                _unpack(arch, home)
    return home / "bin" / "go"


def _unpack(arch: str, home: Path) -> None:
    name = f"v0.0.1-go{VERSION}.linux-{arch}"
    proxy = os.environ.get("GOPROXY", PROXY).replace("|", ",").split(",")[0].rstrip("/")
    if not proxy.startswith("http"):
        proxy = PROXY
    draft = cache_folder("go") / f".go.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    archive = draft / "go.zip"
    try:
        with (
            urllib.request.urlopen(f"{proxy}/golang.org/toolchain/@v/{name}.zip", timeout=60) as answer,
            archive.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as err:
        shutil.rmtree(draft, ignore_errors=True)
        raise Missing(
            f"Go {VERSION}", f"Install it from https://go.dev/dl/ ({proxy} did not give it: {err})."
        ) from None
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256[arch]:
        shutil.rmtree(draft, ignore_errors=True)
        msg = f"the Go {VERSION} archive from {proxy} is not the pinned one: its SHA-256 differs"
        raise StepError(msg)
    with zipfile.ZipFile(archive) as files:
        files.extractall(draft)
    root = draft / f"golang.org/toolchain@{name}"
    for path in [*(root / "bin").iterdir(), *(root / "pkg" / "tool").rglob("*")]:
        if path.is_file():
            path.chmod(0o755)
    shutil.rmtree(home, ignore_errors=True)
    root.rename(home)
    shutil.rmtree(draft, ignore_errors=True)
