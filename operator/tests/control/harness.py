"""The operator as a process, a real apiserver and Job controller, and the test as scheduler and kubelet."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.support.apiserver import ApiServer, Response

from .objects import manifest_of

T = TypeVar("T")
PATIENCE = 90.0
"""Longest wait for anything; two busy cores can be slow."""
GROUP = "/apis/steno.dev/v1alpha1"
SUMMARIES = {
    "TranscriptionJob": {
        "duration": 30.0, "language": "en", "segments": 5, "processingSeconds": 3.0, "speed": 10.0, "model": "base",
    },
    "OCRJob": {
        "pages": 3, "failedPages": 1, "characters": 900, "confidence": 0.9, "engines": {"tesseract": 2},
        "processingSeconds": 6.0, "pagesPerSecond": 0.5,
    },
}  # fmt: skip


def until(what: str, probe: Callable[[], T | None], seconds: float = PATIENCE) -> T:
    """Return the first true answer of `probe`."""
    end = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Replica:
    """One running operator."""

    process: subprocess.Popen[bytes]
    report_port: int
    probe_port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Ask a probe."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Return a sum over the samples of that name and those labels."""
        samples = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for found, value in samples if all(label in found for label in wanted))

    def leads(self) -> bool:
        return self.metric("steno_leader") == 1

    def report(self, token: str, body: Any) -> int:
        """Post a report; returns the status code."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.report_port}/v1/reports"
        request = urllib.request.Request(url, data=data, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@dataclass
class OperatorHarness:
    """A namespace with a profile of its own, and an operator or several that serve it alone."""

    server: ApiServer
    namespace: str
    folder: Path
    stack: ExitStack
    replicas: list[Replica] = field(default_factory=list)
    kind: str = "TranscriptionJob"
    """Of the jobs that the methods below are about."""

    def start(self, kubeconfig: Path | None = None, **settings: Any) -> Replica:
        """Start an operator and wait until it answers its probes."""
        replica = self.spawn(kubeconfig, **settings)
        until("the operator's probes", lambda: self._alive(replica))
        return replica

    def spawn(self, kubeconfig: Path | None = None, **settings: Any) -> Replica:
        """Start an operator."""
        report_port, probe_port = free_port(), free_port()
        chosen = {
            "runtime_image": "steno/runtime:test",
            "report_url": f"http://127.0.0.1:{report_port}",
            "namespaces": self.namespace,
            "pod_name": f"operator-{len(self.replicas)}",
            "pod_namespace": self.namespace,
            "label_pod": False,
            "host": "127.0.0.1",
            "report_port": report_port,
            "probe_port": probe_port,
            "lease_duration_seconds": 4,
            "lease_renew_seconds": 3,
            "lease_retry_seconds": 0.3,
            "backoff_base_seconds": 1,
            "name_conflict_timeout_seconds": 1,
            "progress_interval_seconds": 1,
            "queue_backoff_base_seconds": 0.2,
            "log_level": "DEBUG",
        } | settings
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STENO_")},
            "KUBECONFIG": str(kubeconfig or self.server.kubeconfig),
            **{f"STENO_{name.upper()}": str(value) for name, value in chosen.items()},
        }
        log = self.folder / f"operator-{len(self.replicas)}.log"
        process = subprocess.Popen(
            [sys.executable, "-m", "steno_operator.app"], env=environment, stderr=log.open("wb"), cwd=self.folder
        )
        self.stack.callback(self._end, process)
        replica = Replica(process, int(chosen["report_port"]), probe_port, log)
        self.replicas.append(replica)
        return replica

    @staticmethod
    def _alive(replica: Replica) -> bool:
        assert replica.process.poll() is None, replica.log.read_text()[-3000:]
        return replica.get("/readyz")[0] == 200

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    until = staticmethod(until)

    # Objects

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        return self.server.request(method, path, body, **options)

    def must(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = self.call(method, path, body, **options)
        assert 200 <= answer.status < 300, (path, answer.message)
        return answer.body

    def patch(self, path: str, body: Any) -> Any:
        return self.must("PATCH", path, body, content_type="application/merge-patch+json")

    def job_path(self, name: str) -> str:
        return f"{GROUP}/namespaces/{self.namespace}/{self.kind.lower()}s/{name}"

    def apply(self, name: str = "talk", **spec: Any) -> Any:
        """Create a job of the harness's kind."""
        body = {
            "apiVersion": "steno.dev/v1alpha1",
            "kind": self.kind,
            "metadata": {"name": name},
            "spec": {
                "source": {"uri": "s3://meetings/talk.wav"},
                "output": {"uri": "s3://results"},
                "profileRef": {"name": self.namespace},
                **spec,
            },
        }
        return self.must("POST", self.job_path("").rstrip("/"), body)

    def profile(self) -> None:
        """Create the profile."""
        body = {
            "apiVersion": "steno.dev/v1alpha1",
            "kind": "RuntimeProfile",
            "metadata": {"name": self.namespace},
            "spec": {},
        }
        self.must("POST", f"{GROUP}/runtimeprofiles", body)

    def get(self, name: str = "talk") -> Any:
        return self.must("GET", self.job_path(name))

    def status(self, name: str = "talk") -> Any:
        return self.get(name).get("status") or {}

    def condition(self, kind: str, name: str = "talk") -> Any:
        conditions = self.status(name).get("conditions") or ()
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def wait(self, kind: str, name: str = "talk", status: str = "True") -> Any:
        """Wait for a condition; returns the resource's status."""
        until(
            f"{name} is {kind}; it is {self.status(name)}", lambda: self.condition(kind, name).get("status") == status
        )
        return self.status(name)

    def list(self, path: str) -> list[Any]:
        return self.must("GET", path.format(ns=self.namespace))["items"]

    def lists_served(self, *plurals: str) -> float:
        """Return how many lists of these resources the API server has answered, whoever asked."""
        served = self.call("GET", "/metrics").message.splitlines()
        wanted = [f'resource="{plural}"' for plural in plurals]
        lists = [line for line in served if line.startswith("apiserver_request_total{") and 'verb="LIST"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lists if any(each in line for each in wanted))

    def children(self) -> list[Any]:
        return self.list("/apis/batch/v1/namespaces/{ns}/jobs")

    def pods(self, job: str) -> list[Any]:
        return self.list("/api/v1/namespaces/{ns}/pods?labelSelector=job-name%3D" + job)

    def has_pod(self, pod: Any) -> bool:
        return self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}").status == 200

    def events(self, reason: str) -> list[Any]:
        return self.list("/api/v1/namespaces/{ns}/events?fieldSelector=reason%3D" + reason)

    # The test as scheduler and kubelet

    def pod(self, job: str) -> Any:
        """Wait for a child Job's live pod."""
        return until(
            f"a pod of {job}",
            lambda: next((p for p in self.pods(job) if "deletionTimestamp" not in p["metadata"]), None),
        )

    def set_pod(self, pod: Any, phase: str, state: dict[str, Any], **status: Any) -> None:
        container = {
            "name": "worker",
            "image": "x",
            "imageID": "x",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        self.patch(path, {"status": {"phase": phase, "containerStatuses": [container], **status}})

    def run_pod(self, job: str) -> Any:
        """Have the pod of a child Job run; returns it."""
        pod = self.pod(job)
        self.set_pod(pod, "Running", {"running": {"startedAt": _now()}})
        return pod

    def end_pod(self, pod: Any, code: int, message: dict[str, Any] | None) -> None:
        terminated = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": json.dumps({"result": message}) if message else "",
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        self.set_pod(pod, "Succeeded" if code == 0 else "Failed", {"terminated": terminated})

    def publish(self, pod: Any) -> None:
        """Has a worker end well."""
        artifact = {"format": "json", "name": "result.json", "sha256": "0" * 64, "bytes": 12}
        result = {
            "outcome": "Succeeded", "manifest": manifest_of(pod), "artifacts": [artifact],
            "summary": SUMMARIES[self.kind],
        }  # fmt: skip
        self.end_pod(pod, 0, result)

    def token(self, pod: Any, audience: str = "steno-operator") -> str:
        bound = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        return self.server.service_account_token(self.namespace, "default", audiences=[audience], pod=bound)

    def progress(self, attempt: int = 1, name: str = "talk", **progress: Any) -> dict[str, Any]:
        """Return the body of a report."""
        job = {"namespace": self.namespace, "name": name, "uid": self.get(name)["metadata"]["uid"]}
        return {"job": job, "attempt": attempt, "progress": {"stage": "Decoding", "percent": 40, **progress}}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
