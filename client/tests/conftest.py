"""Fixtures of the client's tests: real models, a real apiserver, a real S3 server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hack import models, tools
from hack.s3 import Client
from steno_client.cli import app
from tests.support.apiserver import ApiServer
from tests.support.fixtures import apiserver, namespace

from .server import Server, recording, serving

__all__ = ["apiserver", "namespace"]

API = "/apis/steno.dev/v1alpha1"
Steno = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "STENO_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture(scope="session")
def store() -> Path:
    """The model store that tests share."""
    return models.build()


@pytest.fixture(scope="session")
def sample() -> Path:
    """Half a minute of two people on the phone, which pyannote's package carries."""
    spec = importlib.util.find_spec("pyannote.audio")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "sample" / "sample.wav"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that speaks the streaming protocol."""
    with serving() as running:
        yield running


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A recording of half a second."""
    return recording(tmp_path / "speech.wav")


def until_served(server: ApiServer, plural: str) -> None:
    """Wait for a kind: the apiserver serves it a moment after it reports its definition as established."""
    deadline = time.monotonic() + 30
    while (answer := server.request("GET", f"{API}/{plural}")).status != 200:
        assert time.monotonic() < deadline, answer.message
        time.sleep(0.05)


@pytest.fixture(scope="session")
def served(apiserver: ApiServer) -> None:
    for plural in ("transcriptionjobs", "ocrjobs"):
        until_served(apiserver, plural)


@pytest.fixture
def steno(apiserver: ApiServer, served: None, namespace: str) -> Steno:
    """Run `steno …` in a fresh namespace of the apiserver."""

    def run(*words: str, **environment: str) -> Any:
        settings = {"KUBECONFIG": str(apiserver.kubeconfig), "COLUMNS": "200", "NO_COLOR": "1", **environment}
        return CliRunner().invoke(app, [*words, "--namespace", namespace], env=settings)

    return run


class Objects:
    """The resources of a namespace, as the operator would write them."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace

    def path(self, plural: str, name: str = "") -> str:
        return f"{API}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str) -> dict[str, Any]:
        answer = self.server.request("GET", self.path(plural, name))
        assert answer.status == 200, answer.message
        return answer.body

    def create(self, plural: str, kind: str, name: str, **spec: Any) -> dict[str, Any]:
        body = {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        answer = self.server.request("POST", self.path(plural), body)
        assert answer.status == 201, answer.message
        return answer.body

    def job(self, name: str, **output: Any) -> dict[str, Any]:
        """A TranscriptionJob."""
        where = {"uri": "s3://transcripts", **output}
        return self.create(
            "transcriptionjobs", "TranscriptionJob", name, source={"uri": "s3://meetings/a.m4a"}, output=where
        )

    def status(self, plural: str, name: str, **status: Any) -> None:
        """Merges into a status; `conditions` by type: `{"Complete": ("True", "Published", "…")}`."""
        if "conditions" in status:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            status["conditions"] = [
                {"type": type_, "status": value, "reason": reason, "message": message, "lastTransitionTime": now}
                for type_, (value, reason, message) in status["conditions"].items()
            ]
        answer = self.server.request(
            "PATCH",
            self.path(plural, name) + "/status",
            {"status": status},
            content_type="application/merge-patch+json",
        )
        assert answer.status == 200, answer.message

    def delete(self, plural: str, name: str) -> None:
        assert self.server.request("DELETE", self.path(plural, name)).status == 200

    def secret(self, name: str, **values: str) -> None:
        answer = self.server.request(
            "POST",
            f"/api/v1/namespaces/{self.namespace}/secrets",
            {"metadata": {"name": name}, "stringData": values},
        )
        assert answer.status == 201, answer.message


@pytest.fixture
def objects(apiserver: ApiServer, served: None, namespace: str) -> Objects:
    return Objects(apiserver, namespace)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A real S3 server with the bucket `transcripts`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", "steno", "steno-secret-key", "us-east-1")
    process = subprocess.Popen(
        [str(tools.path("versitygw")), "--access", client.access_key, "--secret", client.secret_key,
         "--port", f"127.0.0.1:{port}", "--region", client.region, "--quiet",
         "posix", str(tmp_path_factory.mktemp("s3"))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        client.create_bucket("transcripts")
        yield client
    finally:
        process.terminate()
        process.wait(10)
