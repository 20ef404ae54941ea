"""containerd snapshots made of hard links to Docker's layers, so that a node has an image without a copy of its files.

Both keep a layer as a folder that overlayfs mounts, whiteouts included, and a kind node's `/var` is a Docker volume, on
the filesystem of the layers. A pull skips layers whose snapshots exist: only the image's configuration is transferred.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.steps import StepError, output, run, say

_FOLDER = re.compile(r"(?:-t bind |upperdir=)/var/(\S*?/snapshots/\d+/fs)")
_GC_ROOT = "containerd.io/gc.root"
"""Label that keeps containerd from collecting what no image refers to yet; `ctr` sets it."""


@dataclass(frozen=True)
class Folder:
    """A layer as Docker keeps it."""

    chain: str
    """Digest of it and of all that is below it: the name of its snapshot."""
    files: Path


@contextmanager
def linked(container: str, layers: Iterable[Folder]) -> Generator[None]:
    """Have snapshots of an image's layers on a node while it pulls the image.

    Where they cannot be made, the node pulls the layers.

    Args:
        container: the node's container.
        layers: all layers of the image, the lowest first.
    """
    node = _Node(container)
    try:
        node.link(layers)
    except StepError as error:
        say(f"the node copies the layers, since they cannot be linked: {error}")
    try:
        yield
    finally:
        node.release()


def upper_folder(mount: str) -> str:
    """Return the folder below `/var` that a snapshot's files are written to, from the command that mounts it."""
    found = _FOLDER.search(mount)
    if found is None:
        raise StepError(f"not the mount of an overlayfs snapshot: {mount}")
    return found[1]


def _draft(layer: Folder) -> str:
    return f"steno-{layer.chain}"


class _Node:
    def __init__(self, container: str) -> None:
        self._container = container
        self._made: list[str] = []

    def link(self, layers: Iterable[Folder]) -> None:
        """Make the snapshots that are missing."""
        mounts = json.loads(output(["docker", "inspect", "--format", "{{json .Mounts}}", self._container]))
        var = next((Path(mount["Source"]) for mount in mounts if mount["Destination"] == "/var"), None)
        if var is None:
            raise StepError(f"{self._container} has no volume for /var")
        known = set(self._ctr("ls").split())
        parent: list[str] = []
        for layer in layers:
            if (draft := _draft(layer)) in known:  # of a run that was killed
                self._ctr("rm", draft)
            if layer.chain not in known:
                self._make(layer, parent, var)
                self._made.append(layer.chain)
            parent = [layer.chain]

    def release(self) -> None:
        """Have containerd collect the snapshots once no image refers to them."""
        for name in self._made:
            self._ctr("label", name, f"{_GC_ROOT}=")

    def _make(self, layer: Folder, parent: list[str], var: Path) -> None:
        draft = _draft(layer)
        self._ctr("prepare", draft, *parent)
        try:
            folder = var / upper_folder(self._ctr("mounts", "/mnt", draft))
            run(["cp", "--archive", "--link", f"{layer.files}/.", folder], timeout=600)
            self._ctr("commit", layer.chain, draft)
        except StepError:
            self._ctr("rm", draft)
            raise

    def _ctr(self, *words: str) -> str:
        return output(["docker", "exec", self._container, "ctr", "--namespace", "k8s.io", "snapshots", *words])
