"""How images are built: layers, and tags that change with their content."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hack import uv
from hack.images import LAYERS, SOURCES, digest, split


def test_every_requirement_is_in_one_layer_with_its_digests():
    requirements = uv.requirements("steno-runtime")
    layers = split(requirements)
    assert sorted("".join(layers.values()).splitlines()) == sorted(requirements.splitlines())
    assert set(layers) == {name for name, _ in LAYERS}
    for name, text in layers.items():
        entries = re.findall(r"(?m)^(\S+?)==", text)
        assert entries, name
        assert text.count("--hash=sha256:") >= len(entries), name
    assert re.search(r"(?m)^torch==", layers["torch"])
    assert "nvidia-cudnn-cu12==" in layers["cuda-1"]
    assert "nvidia-" not in layers["rest"]
    assert re.search(r"(?m)^whisperx==", layers["rest"])


def test_the_runtimes_dockerfile_installs_every_layer():
    text = (SOURCES / "runtime" / "Dockerfile").read_text()
    assert re.findall(r"install\.sh -r /opt/build/(\S+)\.txt", text) == [name for name, _ in LAYERS]


@pytest.mark.parametrize("image", ["operator", "runtime"])
def test_images_run_as_nobody_in_particular(image: str):
    last = (SOURCES / image / "Dockerfile").read_text().rsplit("\nFROM ", 1)[1]
    assert "\nUSER 65532:65532\n" in last


def test_a_tag_changes_with_content_name_and_mode_and_with_nothing_else(tmp_path: Path):
    def context(name: str, *, file: str = "a.py", text: str = "x = 1", mode: int = 0o644) -> str:
        folder = tmp_path / name
        (folder / "src").mkdir(parents=True)
        (folder / "src" / file).write_text(text)
        (folder / "src" / file).chmod(mode)
        return digest(folder)

    first = context("first")
    assert context("again") == first
    assert len({first, context("text", text="x = 2"), context("file", file="b.py"), context("mode", mode=0o755)}) == 4
