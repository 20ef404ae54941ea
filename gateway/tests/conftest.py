"""A gateway process in front of a real API server and a real S3 server; tests play the operator's part."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from steno_api.gateway.api_keys import ApiKey, NewApiKey, Scope, new_api_key, secret_manifest
from tests.support.apiserver import ApiServer
from tests.support.fixtures import *  # noqa: F403
from tests.support.s3 import S3Server, serve

ALL = frozenset(Scope)
SECONDS = 60.0


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve(tmp_path_factory.mktemp("s3"), "steno") as server:
        yield server


@dataclass
class GatewayProcess:
    """A running gateway, its client, and the cluster behind it."""

    client: httpx.Client
    apiserver: ApiServer
    s3: S3Server
    namespace: str
    """Where its keys are, and where they create resources."""
    log: Path
    grpc_port: int
    metrics_port: int
    kill: Callable[[], None]
    """End it at once, as a node's loss does."""

    def key(self, **changes: Any) -> NewApiKey:
        """Make an API key and add it to the Secret; it is valid once the gateway has seen that."""
        values = {"tenant": "acme", "namespace": self.namespace, "scopes": ALL, "created": datetime.now(UTC)}
        made = new_api_key(**{**values, **changes})
        self._patch({made.record.id: made.record})
        until = time.monotonic() + SECONDS
        while self.client.get("/status/stt-none", headers=bearer(made.key)).json()["code"] == "KeyInvalid":
            assert time.monotonic() < until, self.log.read_text()[-2000:]
        return made

    def revoke(self, record: ApiKey) -> None:
        """Remove a key's record."""
        self._patch({record.id: None})

    def _patch(self, records: dict[str, ApiKey | None]) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        entries = {name: record.to_json() if record else None for name, record in records.items()}
        body = secret_manifest("steno-api-keys", self.namespace, {})
        answer = self.apiserver.request("POST", path, body)
        assert answer.status in (201, 409), answer.message
        patch = {"stringData": entries} if None not in entries.values() else {"data": entries}
        answer = self.apiserver.request(
            "PATCH", f"{path}/steno-api-keys", patch, content_type="application/merge-patch+json"
        )
        assert answer.status == 200, answer.message

    def job(self, name: str) -> dict[str, Any]:
        """Return a job's resource."""
        plural = "transcriptionjobs" if name.startswith("stt-") else "ocrjobs"
        answer = self.apiserver.request("GET", f"/apis/steno.dev/v1alpha1/namespaces/{self.namespace}/{plural}/{name}")
        assert answer.status == 200, answer.message
        return answer.body

    def jobs(self, plural: str = "transcriptionjobs") -> list[dict[str, Any]]:
        """Return all jobs of a kind."""
        return self.apiserver.request("GET", f"/apis/steno.dev/v1alpha1/namespaces/{self.namespace}/{plural}").body[
            "items"
        ]

    def finish(
        self,
        name: str,
        document: dict[str, Any] | None = None,
        *,
        artifacts: dict[str, str] | None = None,
        **failure: str,
    ) -> None:
        """Do what the operator and a worker do: publish a document (or several, by format), or fail."""
        job, now = self.job(name), (datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status: dict[str, Any] = {"observedGeneration": 1, "completionTime": now, "attempt": 1}
        published = artifacts or ({} if document is None else {"json": json.dumps(document)})
        if not published:
            status |= {"phase": "Failed", "lastFailure": {"attempt": 1, "time": now, **failure}}
        else:
            folder = f"results/{self.namespace}/{name}/{job['metadata']['uid']}"
            listed: list[dict[str, Any]] = []
            for form, text in published.items():
                data = text.encode()
                self.s3.client.put_object(Bucket="steno", Key=f"{folder}/transcript.{form}", Body=data)
                uri = f"s3://steno/{folder}/transcript.{form}"
                listed.append({"format": form, "uri": uri, "sha256": "0" * 64, "bytes": len(data)})
            results = {"manifest": f"s3://steno/{folder}/manifest.json", "artifacts": listed}
            status |= {"phase": "Succeeded", "results": results}
        self._write_status(name, status)

    def progress(self, name: str, stage: str, percent: int) -> None:
        """Do what the operator does while a worker works."""
        self._write_status(name, {"phase": "Running", "progress": {"stage": stage, "percent": percent}})

    def _write_status(self, name: str, status: dict[str, Any]) -> None:
        plural = "transcriptionjobs" if name.startswith("stt-") else "ocrjobs"
        answer = self.apiserver.request(
            "PATCH", f"/apis/steno.dev/v1alpha1/namespaces/{self.namespace}/{plural}/{name}/status",
            {"status": status}, content_type="application/merge-patch+json",
        )  # fmt: skip
        assert answer.status == 200, answer.message


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def running(
    apiserver: ApiServer, s3: S3Server, folder: Path, namespace: str, **settings: Any
) -> Iterator[GatewayProcess]:
    """A gateway process; several of one namespace are replicas of one release."""
    settings = {
        "namespace": namespace, "name": namespace, "waitSeconds": 20, "maxUploadBytes": 2_000_000,
        "store": {"uri": "s3://steno", "endpointURL": s3.endpoint},
        "operator": {"url": "https://127.0.0.1:1", "tokenFile": str(folder / "none")},
        "transcription": {"model": {"name": "whisper-base"}, "profileRef": {"name": "cpu"}}, **settings,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    with ExitStack() as probes:
        free = [probes.enter_context(socket.socket()) for _ in range(3)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        port, grpc_port, metrics_port = (each.getsockname()[1] for each in free)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "steno_gateway", "--config", str(folder / "settings.json"), "--host", "127.0.0.1",
             "--port", str(port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)],
            stdout=output, stderr=output,
            env={**os.environ, **s3.environment(), "KUBECONFIG": str(apiserver.kubeconfig)},
        )  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=SECONDS)
    try:
        until = time.monotonic() + SECONDS
        while not _ready(client):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.05)
        yield GatewayProcess(client, apiserver, s3, namespace, log, grpc_port, metrics_port, process.kill)
    finally:
        client.close()
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def gateway(apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running(apiserver, s3, tmp_path_factory.mktemp("gateway"), apiserver.namespace()) as process:
        yield process


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


HOUR = timedelta(hours=1)


def when_created(
    gateway: GatewayProcess, act: Callable[[str], None], plural: str = "transcriptionjobs"
) -> threading.Thread:
    """Do what the operator does, as soon as there is another job."""
    known = {job["metadata"]["name"] for job in gateway.jobs(plural)}

    def watch() -> None:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            new = {job["metadata"]["name"] for job in gateway.jobs(plural)} - known
            if new:
                act(new.pop())
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def until(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Ask until the answer is as wanted; return it."""
    end = time.monotonic() + SECONDS
    while not wanted(found := ask()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found
