"""Builds the container images: the operator's and the runtime's, the latter with the small test models inside.

A tag is the digest of everything that went into the build (sources, pinned requirements, Dockerfile, models), so an
image that exists is never built again, and a cluster never runs an old image under a new build's name.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack import docker, uv
from hack import models as model_store
from hack.cluster import load
from hack.cluster.config import reference as registry_reference
from hack.cluster.registry import port
from hack.paths import ROOT, cache_folder, locked
from hack.steps import main, output, run, say, step, succeeds

SOURCES = ROOT / "build" / "images"
OPERATOR, RUNTIME = "steno/operator", "steno/runtime"
LABEL = "app.kubernetes.io/part-of=steno"
"""What the Dockerfiles mark their images with, those of intermediate stages too."""

LAYERS = (
    ("cuda-1", r"nvidia-(cudnn|nccl|cusparselt|nvjitlink)-"),
    ("cuda-2", r"nvidia-"),
    ("torch", r"(torch|torchaudio|torchvision|triton)=="),
    ("rest", r""),
)
"""The runtime's requirements, by layer: the first pattern that fits takes a requirement. About 2 GB each."""


@dataclass(frozen=True)
class Images:
    """References of the two images, as pods name them."""

    operator: str
    runtime: str


def build_and_load(cluster: str) -> Images:
    """Builds what is not built yet and puts it where the cluster's nodes pull from.

    Args:
        cluster: the cluster's name; its registry must be up.

    Raises:
        StepError: Docker, the build or the registry failed; the message says how.
    """
    images = build()
    with step(f"loading images for {cluster}"):
        return Images(operator=load(images.operator), runtime=load(images.runtime))


def references() -> Images:
    """How pods name the images of the sources as they are now; builds and loads nothing."""
    with _operator() as folder:
        operator = registry_reference(_name(OPERATOR, folder), port())
    with _runtime(models=True) as folder:
        return Images(operator=operator, runtime=registry_reference(_name(RUNTIME, folder), port()))


def build(*, models: bool = True) -> Images:
    """Builds what is not built yet and returns the images' local names.

    Args:
        models: puts the test models into the runtime image's `/models`; without, they come from a volume or a download.
    """
    docker.ensure()
    with locked("images"):
        with _operator() as folder:
            operator = _build(OPERATOR, folder)
        with _runtime(models=models) as folder:
            runtime = _build(RUNTIME, folder, note="; the first time takes some minutes: 3 GB of CUDA and torch")
    return Images(operator=operator, runtime=runtime)


def remove() -> None:
    """Removes every image this module built, with the layers they were built from."""
    images = output(["docker", "image", "ls", "--quiet", "--filter", f"label={LABEL}"]).split()
    if images:
        run(["docker", "image", "rm", "--force", *dict.fromkeys(images)])


def split(requirements: str) -> dict[str, str]:
    """Sorts a requirements file's entries (with their `--hash` lines) into the layers of `LAYERS`."""
    layers: dict[str, list[str]] = {name: [] for name, _ in LAYERS}
    for entry in re.split(r"(?m)^(?=\S)", requirements):
        if entry.strip():
            layers[next(name for name, pattern in LAYERS if re.match(pattern, entry))].append(entry)
    return {name: "".join(entries) for name, entries in layers.items()}


def digest(folder: Path) -> str:
    """Twelve hex digits that change with any file of a build context: its name, mode or content."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111:o}\0{content}\n".encode())
    return total.hexdigest()[:12]


def _name(repository: str, folder: Path) -> str:
    return f"{repository}:{digest(folder)}"


def _build(repository: str, folder: Path, note: str = "") -> str:
    name = _name(repository, folder)
    if succeeds(["docker", "image", "inspect", name]):
        return name
    with step(f"building {name}{note}"):
        docker.build(name, folder, build_args={"BASE": docker.base_image(), "UV_VERSION": uv.VERSION})
        size = int(output(["docker", "image", "inspect", "--format", "{{.Size}}", name]))
        say(f"{name}: {size / 1e9:.1f} GB")
    return name


@contextmanager
def _operator() -> Generator[Path]:
    """The operator's build context."""
    with _context("operator") as folder:
        (folder / "requirements.txt").write_text(uv.requirements("steno-operator"))
        _sources(folder, "api", "operator")
        yield folder


@contextmanager
def _runtime(*, models: bool) -> Generator[Path]:
    """The runtime's build context."""
    with _context("runtime") as folder:
        (folder / "requirements").mkdir()
        for name, text in split(uv.requirements("steno-runtime")).items():
            (folder / "requirements" / f"{name}.txt").write_text(text)
        _sources(folder, "api", "runtime")
        _models(folder / "models", wanted=models)
        yield folder


@contextmanager
def _context(image: str) -> Generator[Path]:
    """A fresh folder with the image's Dockerfile, beside the model store so that models can be linked."""
    with tempfile.TemporaryDirectory(dir=cache_folder("build"), prefix=image) as name:
        shutil.copytree(SOURCES / image, name, dirs_exist_ok=True)
        yield Path(name)


def _sources(folder: Path, *members: str) -> None:
    for member in members:
        target = folder / "src" / member
        target.mkdir(parents=True)
        shutil.copy(ROOT / member / "pyproject.toml", target)
        shutil.copytree(ROOT / member / "src", target / "src", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _models(target: Path, *, wanted: bool) -> None:
    target.mkdir()
    if wanted:
        shutil.copytree(model_store.build(), target, dirs_exist_ok=True, copy_function=_link)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.images", description=__doc__)
    parser.add_argument("action", choices=("build", "load", "remove"), help="load: build and load into the cluster")
    parser.add_argument("--name", default="steno-demo", help="cluster (default: %(default)s)")
    parser.add_argument("--no-models", action="store_true", help="build: leave /models of the runtime image empty")
    arguments = parser.parse_args()
    if arguments.action == "remove":
        remove()
        return
    images = build(models=not arguments.no_models) if arguments.action == "build" else build_and_load(arguments.name)
    print(images.operator, images.runtime, sep="\n")


if __name__ == "__main__":
    sys.exit(main(_main))
