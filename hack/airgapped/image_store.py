"""A read-only image registry over Docker's own layers: a node pulls an image that was built here, and no copy is kept.

`docker push` would compress every layer and a registry would keep it a second time; `docker save` writes all layers of
an image whenever one has changed. Docker keeps layers as folders (`overlay2`), and beside each what is needed to make
the tar stream again that its digest was taken of (`tar-split.json.gz`: the headers, and which file goes where). So
layers are sent as they are, and only those that a node lacks; most are not even sent: see `snapshots`.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hack.airgapped.snapshots import Folder, linked
from hack.steps import output, run, succeeds

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
SEGMENT = 2
"""Type of an entry that is bytes of the tar stream; the other one is a file."""
CHUNK = 1 << 20
PULL_SECONDS = 1800


def usable() -> bool:
    """Return whether Docker's layers can be read from here."""
    root, driver = output(["docker", "info", "--format", "{{.DockerRootDir}}\t{{.Driver}}"]).split("\t")
    return driver == "overlay2" and os.access(Path(root) / "image" / "overlay2" / "layerdb" / "sha256", os.R_OK)


def load(image: str, node: str) -> None:
    """Make a node pull a local image.

    Args:
        image: the image's name, such as `steno/runtime:1`; so pods name it too.
        node: the node's container.
    """
    root = Path(output(["docker", "info", "--format", "{{.DockerRootDir}}"]))
    gateway = output(["docker", "exec", node, "sh", "-c", "ip -4 route show default | cut -d' ' -f3"])
    with serve(root, gateway) as address:
        folder = "/etc/containerd/certs.d/docker.io"
        hosts = f'server = "http://{address}"\n[host."http://{address}"]\n  capabilities = ["pull", "resolve"]\n'
        write = f"mkdir -p {folder} && cat > {folder}/hosts.toml"
        run(["docker", "exec", "-i", node, "sh", "-c", write], text=hosts)
        digests = json.loads(output(["docker", "inspect", "--format", "{{json .RootFS.Layers}}", image]))
        layers = [Folder(f"sha256:{layer.metadata.name}", layer.files) for layer in ImageStore(root).layers(digests)]
        try:
            with linked(node, layers):
                run(["docker", "exec", node, "crictl", "pull", f"docker.io/{image}"], timeout=PULL_SECONDS)
        finally:
            succeeds(["docker", "exec", node, "rm", "-rf", folder])


@contextmanager
def serve(root: Path, host: str) -> Generator[str]:
    """Serve the images of a Docker root folder; yield the server's `host:port`.

    Args:
        root: Docker's folder, `/var/lib/docker` as a rule.
        host: the address to listen on.
    """
    store = ImageStore(root)

    class Handler(_Handler):
        images = store

    server = ThreadingHTTPServer((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Layer:
    """A layer on disk."""

    digest: str
    """SHA-256 of its tar stream."""
    metadata: Path
    files: Path

    def entries(self) -> Generator[tuple[bytes, str, int]]:
        """Yield what the tar stream consists of: bytes as they are, or (b"", a file's name, its size)."""
        with gzip.open(self.metadata / "tar-split.json.gz") as lines:
            for line in lines:
                entry: dict[str, Any] = json.loads(line)
                if entry["type"] == SEGMENT:
                    yield base64.b64decode(entry["payload"]), "", 0
                elif size := entry.get("size", 0):
                    name = entry.get("name") or base64.b64decode(entry["name_raw"]).decode(errors="surrogateescape")
                    yield b"", name, size

    @functools.cached_property
    def size(self) -> int:
        """Bytes of the tar stream."""
        return sum(len(segment) + size for segment, _, size in self.entries())

    def chunks(self) -> Generator[bytes]:
        """Yield the tar stream."""
        pending = bytearray()
        for segment, name, size in self.entries():
            pending += segment
            if name:
                with (self.files / name).open("rb", buffering=0) as file:
                    left = size
                    while left > 0 and (data := file.read(min(CHUNK, left))):
                        left -= len(data)
                        pending += data
                        if len(pending) >= CHUNK:
                            yield bytes(pending)
                            pending.clear()
            if len(pending) >= CHUNK:
                yield bytes(pending)
                pending.clear()
        yield bytes(pending)


class ImageStore:
    """The images in a Docker root folder."""

    def __init__(self, root: Path) -> None:
        """Take the root folder."""
        self._images = root / "image" / "overlay2"
        self._folders = root / "overlay2"
        self._layers: dict[str, Layer] = {}

    def manifest(self, name: str, tag: str) -> bytes | None:
        """Return the manifest of an image; None where there is none of that name."""
        repositories = json.loads((self._images / "repositories.json").read_text())["Repositories"]
        image = repositories.get(name, {}).get(f"{name}:{tag}")
        if image is None:
            return None
        config = self.config(image)
        layers = self.layers(json.loads(config)["rootfs"]["diff_ids"])
        entries = [{"mediaType": LAYER, "size": layer.size, "digest": layer.digest} for layer in layers]
        described = {"mediaType": CONFIG, "size": len(config), "digest": image}
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": entries}).encode()

    def config(self, digest: str) -> bytes:
        """Return an image's configuration, whose digest is the image's id."""
        return (self._images / "imagedb" / "content" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    def layers(self, digests: list[str]) -> list[Layer]:
        """Return an image's layers, the lowest first. A layer is found by the digest of all that is below it, too."""
        found: list[Layer] = []
        chain = ""
        for digest in digests:
            chain = f"sha256:{hashlib.sha256(f'{chain} {digest}'.encode()).hexdigest()}" if chain else digest
            metadata = self._images / "layerdb" / "sha256" / chain.removeprefix("sha256:")
            folder = self._folders / (metadata / "cache-id").read_text().strip() / "diff"
            found.append(self._layers.setdefault(digest, Layer(digest, metadata, folder)))
        return found

    def layer(self, digest: str) -> Layer | None:
        """Return a layer of a manifest that was asked for."""
        return self._layers.get(digest)


class _Handler(BaseHTTPRequestHandler):
    """The part of the registry API that a pull uses."""

    protocol_version = "HTTP/1.1"
    images: ImageStore
    manifests: dict[str, bytes] = {}  # noqa: RUF012 - of all requests

    def do_GET(self) -> None:
        """Answer with a manifest, a configuration or a layer."""
        found = re.fullmatch(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<id>[^/?]+)(\?.*)?", self.path)
        if not found:
            self._send(b"{}", "application/json")
        elif found["kind"] == "manifests":
            self._manifest(found["name"], found["id"])
        elif layer := self.images.layer(found["id"]):
            self._head(200, "application/octet-stream", layer.size)
            if self.command == "GET":
                for chunk in layer.chunks():
                    self.wfile.write(chunk)
        else:
            self._send(self.images.config(found["id"]), "application/octet-stream")

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def _manifest(self, name: str, reference: str) -> None:
        manifest = self.manifests.get(reference) or self.images.manifest(name, reference)
        if manifest is None:
            self._head(404, "application/json", 0)
            return
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.manifests[digest] = manifest
        self._send(manifest, MANIFEST, digest)

    def _send(self, body: bytes, kind: str, digest: str = "") -> None:
        self._head(200, kind, len(body), digest)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, kind: str, size: int, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Print nothing."""
