"""How images are built: layers, and tags that change with their content."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hack import uv
from hack.images import DOCKERFILES, digest
from hack.paths import ROOT

LAYERS = ("cuda-1", "cuda-2", "torch", "rest")


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The runtime's requirements by layer, and `all` of them."""
    folder = tmp_path_factory.mktemp("requirements")
    environment = {**uv.environment(), "UV": str(uv.path()), "PATH": "/usr/bin:/bin"}
    script = DOCKERFILES / "runtime" / "requirements.sh"
    subprocess.run([script, folder], cwd=ROOT, env=environment, check=True)
    return {path.stem: path.read_text() for path in folder.iterdir()}


def test_every_requirement_is_in_one_layer_with_its_digests(layers: dict[str, str]):
    requirements = layers.pop("all")
    assert sorted("".join(layers.values()).splitlines()) == sorted(requirements.splitlines())
    assert set(layers) == set(LAYERS)
    for name, text in layers.items():
        entries = re.findall(r"(?m)^(\S+?)==", text)
        assert entries, name
        assert text.count("--hash=sha256:") >= len(entries), name
    assert re.search(r"(?m)^torch==", layers["torch"])
    assert "nvidia-cudnn-cu12==" in layers["cuda-1"]
    assert "nvidia-" not in layers["rest"]
    assert re.search(r"(?m)^whisperx==", layers["rest"])


def test_the_runtimes_dockerfile_installs_every_layer():
    text = (DOCKERFILES / "runtime" / "Dockerfile").read_text()
    assert tuple(re.findall(r"install\.sh .*-r /opt/build/(\S+)\.txt", text)) == LAYERS


@pytest.mark.parametrize("image", ["operator", "runtime"])
def test_images_run_as_nobody_in_particular(image: str):
    last = (DOCKERFILES / image / "Dockerfile").read_text().rsplit("\nFROM ", 1)[1]
    assert "\nUSER 65532:65532\n" in last


@pytest.mark.parametrize("image", ["operator", "runtime"])
def test_images_are_built_with_the_uv_of_the_project(image: str):
    pinned = re.findall(r"(?m)^ARG UV_VERSION=(.*)$", (DOCKERFILES / image / "Dockerfile").read_text())
    assert pinned
    assert set(pinned) == {uv.VERSION}


@pytest.mark.parametrize("image", ["operator", "runtime"])
def test_every_base_is_an_argument_and_named_in_the_labels_of_the_result(image: str):
    text = (DOCKERFILES / image / "Dockerfile").read_text()
    stages = re.findall(r"(?m)^FROM \S+ AS (\S+)$", text)
    assert {each for each in re.findall(r"(?m)^FROM (\S+)", text) if each not in stages} <= {"${BASE}", "${MODELS}"}
    last = text.rsplit("\nFROM ", 1)[1]
    assert re.search(r"(?m)^ARG BASE\nLABEL .*base\.name=\"\$\{BASE\}\"$", last)


def test_a_tag_changes_with_content_name_and_mode_and_with_nothing_else(tmp_path: Path):
    def tag(name: str, *, file: str = "a.py", text: str = "x = 1", mode: int = 0o644) -> str:
        path = tmp_path / name / "src" / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(mode)
        return digest([path], tmp_path / name)

    first = tag("first")
    assert tag("again") == first
    assert len({first, tag("text", text="x = 2"), tag("file", file="b.py"), tag("mode", mode=0o755)}) == 4
