"""`compose.yaml` with Docker Compose: what the documentation of `steno serve` says, without a cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack import images, tools
from hack.paths import ROOT
from tests.e2e import media, scans
from tests.e2e.scoring import reference_text, word_error_rate
from tests.e2e.test_gateway import curl
from tests.support.queues import free_port

pytestmark = pytest.mark.disruptive  # its server takes both cores


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of the service, once it is healthy."""
    port = free_port()
    asked = ("docker", "version", "--format", "{{.Server.APIVersion}}")
    api_version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    environment = os.environ | {
        "DOCKER_API_VERSION": api_version,  # Compose does not ask an old Docker for it
        "STENO_IMAGE": images.references().runtime,
        "STENO_MODEL": "whisper-base",
        "STENO_AUDIO_DIR": str(tmp_path / "audio"),
        "STENO_KEYS_DIR": str(tmp_path / "keys"),
        "PORT": str(port),
        "STENO_GRPC_PORT": str(free_port()),
        "STENO_PROBE_PORT": str(free_port()),
    }
    for name in ("audio", "keys"):
        (tmp_path / name).mkdir()
    (tmp_path / "audio" / "call.wav").write_bytes(media.sample(".wav").read_bytes())

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(tools.path("docker-compose")), "--project-name", f"steno-{os.getpid()}", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    try:
        up = compose("up", "--detach", "--wait", "--wait-timeout", "300", "--no-build", "steno")
        assert up.returncode == 0, up.stderr + compose("logs").stdout
        yield f"http://127.0.0.1:{port}"
    finally:
        down = compose("down", "--volumes", "--timeout", "40")
        assert down.returncode == 0, down.stderr


def test_the_original_requests_are_answered_by_one_container(url: str, tmp_path: Path) -> None:
    assert curl(f"{url}/health")[1]["status"] == "ok"
    status, transcript = curl(f"{url}/stt/upload", "-F", f"file=@{media.sample('.wav')}", "-F", "language=en")
    assert status == 200, transcript
    assert word_error_rate(reference_text(media.sample(".stm")), transcript) < 0.3
    body = '{"audio_url": "/audio/call.wav", "language": "en"}'
    status, processed = curl(f"{url}/stt/process", "-H", "Content-Type: application/json", "-d", body)
    assert status == 200, processed
    assert processed["transcript"] == transcript["transcript"]
    page = scans.make(tmp_path)["pages-en.tiff"]
    status, document = curl(f"{url}/ocr/process", "-F", f"file=@{page}", "-F", "languages=en")
    assert status == 200, document
    assert scans.character_error_rate(scans.text("en"), document["text"]) < 0.02
