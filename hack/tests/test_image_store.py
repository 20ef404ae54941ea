"""A registry over Docker's own layers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hack.airgapped import image_store, snapshots
from hack.steps import StepError

FILES = {"etc/empty": b"", "etc/name": b"steno\n", "usr/lib/large": bytes(range(256)) * 9000}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_layer(root: Path, files: dict[str, bytes], below: str = "") -> tuple[str, str]:
    """Lay a layer out as Docker does; return its digest and its chain's."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    data, at, lines = stream.getvalue(), 0, []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            header = data[at : member.offset_data]
            lines.append({"type": 2, "payload": base64.b64encode(header).decode()})
            lines.append({"type": 1, "name": member.name, "size": member.size, "payload": "AAAA"})
            at = member.offset_data + member.size
    lines.append({"type": 2, "payload": base64.b64encode(data[at:]).decode()})
    layer = digest(data)
    chain = digest(f"{below} {layer}".encode()) if below else layer
    folder = root / "image/overlay2/layerdb/sha256" / chain.removeprefix("sha256:")
    folder.mkdir(parents=True)
    (folder / "cache-id").write_text(f"cache-{layer[7:15]}")
    (folder / "tar-split.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    for name, content in files.items():
        path = root / "overlay2" / f"cache-{layer[7:15]}" / "diff" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return layer, chain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lower, chain = write_layer(tmp_path, FILES)
    upper, _ = write_layer(tmp_path, {"etc/name": b"steno 2\n"}, chain)
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [lower, upper]}}).encode()
    content = tmp_path / "image/overlay2/imagedb/content/sha256"
    content.mkdir(parents=True)
    (content / digest(config).removeprefix("sha256:")).write_bytes(config)
    tags = {"Repositories": {"steno/x": {"steno/x:1": digest(config)}}}
    (tmp_path / "image/overlay2/repositories.json").write_text(json.dumps(tags))
    return tmp_path


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        data = answer.read()
        assert len(data) == int(answer.headers["Content-Length"])
        return data


def test_a_pull_gets_every_blob_as_its_digest_says(root: Path) -> None:
    with image_store.serve(root, "127.0.0.1") as address:
        manifest = get(f"http://{address}/v2/steno/x/manifests/1")
        described = json.loads(manifest)
        assert described["mediaType"] == image_store.MANIFEST
        assert get(f"http://{address}/v2/steno/x/manifests/{digest(manifest)}") == manifest
        blobs = [described["config"], *described["layers"]]
        assert len(blobs) == 3
        for blob in blobs:
            data = get(f"http://{address}/v2/steno/x/blobs/{blob['digest']}")
            assert digest(data) == blob["digest"]
            assert len(data) == blob["size"]


def test_an_image_that_is_not_there_is_not_found(root: Path) -> None:
    with (
        image_store.serve(root, "127.0.0.1") as address,
        pytest.raises(urllib.error.HTTPError, match="404"),
    ):
        get(f"http://{address}/v2/steno/y/manifests/1")


@pytest.mark.parametrize(
    "mount",
    [
        "mount -t bind /var/lib/containerd/x.overlayfs/snapshots/52/fs /mnt -o rw,rbind",
        (
            "mount -t overlay overlay /mnt -o index=off,workdir=/var/lib/containerd/x.overlayfs/snapshots/52/work,"
            "upperdir=/var/lib/containerd/x.overlayfs/snapshots/52/fs,lowerdir=/var/lib/containerd/x.overlayfs/snapshots/4/fs"
        ),
    ],
)
def test_the_folder_of_a_snapshot_is_read_from_its_mount(mount: str) -> None:
    assert snapshots.upper_folder(mount) == "lib/containerd/x.overlayfs/snapshots/52/fs"


def test_another_kind_of_mount_is_refused() -> None:
    with pytest.raises(StepError, match="not the mount of an overlayfs snapshot"):
        snapshots.upper_folder("mount -t btrfs /dev/sda /mnt")
