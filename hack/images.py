"""Build the container images with `docker build -f build/images/<image>/Dockerfile .`, tagged by their content.

A tag is the digest of everything that goes into the build (sources, lock file, Dockerfile, models), so an image that
exists is never built again, and a cluster never runs an old image under a new build's name. The runtime's image has
the small test models in `/models`, unless they are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hack import airgapped, docker
from hack import models as model_store
from hack.airgapped import dockerd
from hack.cluster import Cluster, load
from hack.paths import ROOT, locked
from hack.steps import main, output, run, say, step

DOCKERFILES = ROOT / "build" / "images"
OPERATOR, RUNTIME, MODELS = "steno/operator", "steno/runtime", "steno/models"
LABEL = "app.kubernetes.io/part-of=steno"
"""What the Dockerfiles mark their images with, those of intermediate stages too."""
SOURCES = {OPERATOR: ("api", "kube", "queues", "operator", "gateway"), RUNTIME: ("api", "queues", "runtime")}
"""The workspace members that are in an image."""


@dataclass(frozen=True)
class Images:
    """Names of the two images, as pods use them."""

    operator: str
    runtime: str


def references(*, models: bool = True) -> Images:
    """Return the names of the images of the sources as they are now; build and load nothing."""
    return Images(operator=_name(OPERATOR), runtime=_name(RUNTIME, _models_key() if models else ""))


def build(*, models: bool = True) -> Images:
    """Build what is not built yet and return the images' names.

    Args:
        models: puts the test models into the runtime's `/models`; without, they come from a volume or a download.
    """
    dockerd.ensure()
    images = references(models=models)
    with locked("images"):
        _build(images.operator, {})
        if not docker.image_exists(images.runtime):
            _build(images.runtime, {"MODELS": _models_image()} if models else {})
    return images


def build_and_load(cluster: str) -> Images:
    """Build what is not built yet and put it onto the cluster's node.

    Raises:
        StepError: Docker or the build failed; the message says how.
    """
    images = build()
    for image in (images.operator, images.runtime):
        load(image, Cluster(cluster))
    return images


def remove() -> None:
    """Delete every image this module built, with the layers they were built from."""
    images = output(["docker", "image", "ls", "--quiet", "--filter", f"label={LABEL}"]).split()
    if images:
        run(["docker", "image", "rm", "--force", *dict.fromkeys(images)])


def digest(files: Iterable[Path], root: Path = ROOT) -> str:
    """Return twelve hex digits that change with any of the files: its name, mode or content."""
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(root)}\0{path.stat().st_mode & 0o111:o}\0{content}\n".encode())
    return total.hexdigest()[:12]


def _name(repository: str, extra: str = "") -> str:
    folders = [
        DOCKERFILES / repository.removeprefix("steno/"),
        *(ROOT / member / "src" for member in SOURCES[repository]),
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files += [
        ROOT / "pyproject.toml",
        ROOT / "uv.lock",
        *(ROOT / each / "pyproject.toml" for each in SOURCES[repository]),
    ]
    return f"{repository}:{digest(files)}{extra}"


def _models_key() -> str:
    pinned = "".join(model.sums() for model in model_store.MODELS)
    return f"-{hashlib.sha256(pinned.encode()).hexdigest()[:6]}"


def _build(name: str, build_args: dict[str, str]) -> None:
    if docker.image_exists(name):
        return
    dockerfile = DOCKERFILES / name.split(":", maxsplit=1)[0].removeprefix("steno/") / "Dockerfile"
    if airgapped.chosen():
        build_args = {**build_args, "BASE": dockerd.base_image()}
    with step(f"building {name}"):
        docker.build(name, ROOT, dockerfile=dockerfile, build_args=build_args)
        size = int(output(["docker", "image", "inspect", "--format", "{{.Size}}", name]))
        say(f"{name}: {size / 1e9:.1f} GB")


def _models_image() -> str:
    """Build the image that is nothing but the test models, and return its name."""
    name = f"{MODELS}:{_models_key().lstrip('-')}"
    if not docker.image_exists(name):
        docker.build(name, model_store.build(), dockerfile=DOCKERFILES / "models" / "Dockerfile")
    return name


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
