"""Webhooks of the gateway: a server in the cluster hears of a job's end, signed, again after it did not take it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from standardwebhooks import Webhook

from hack import images
from tests.e2e import media
from tests.e2e.kube import Kube
from tests.e2e.test_gateway import curl, steno_key, url

__all__ = ["url"]  # a fixture

RECEIVER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    answers = [503]
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        print(json.dumps({"headers": headers, "body": body}), flush=True)
        self.send_response(self.answers.pop() if self.answers else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@contextmanager
def receiving(kube: Kube) -> Iterator[tuple[str, Iterator[str]]]:
    """The URL of a client's server, and each request that it got, as a line of JSON."""
    container = {
        "name": "hooks",
        "image": images.references().operator,
        "command": ["python", "-c", RECEIVER],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": security, "automountServiceAccountToken": False}
    kube.core.create_namespaced_pod(kube.namespace, {"metadata": {"name": "hooks"}, "spec": spec})
    kube.kubectl("wait", "--for=condition=Ready", "pod/hooks", "--timeout=120s")
    address = kube.core.read_namespaced_pod("hooks", kube.namespace).status.pod_ip
    with subprocess.Popen(kube.command("logs", "--follow", "hooks"), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://{address}:8080/hook", iter(process.stdout)
        finally:
            process.terminate()


def test_the_end_of_a_job_is_reported_until_it_is_taken(kube: Kube, url: str) -> None:
    words = ("--tenant", kube.namespace, "--for-namespace", kube.namespace)
    key, secret = steno_key(kube, "create", *words, "--webhooks").split()
    with receiving(kube) as (hook, requests):
        fields: dict[str, Any] = {"kind": "TranscriptionJob", "spec": "{}", "webhook": hook}
        form = [word for name, value in fields.items() for word in ("-F", f"{name}={value}")]
        bearer = ("-H", f"Authorization: Bearer {key}")
        status, job = curl(f"{url}/v1/jobs", *bearer, "-F", f"file=@{media.sample('.wav')}", *form)
        assert status == 202, job
        first, again = (json.loads(next(requests)) for _ in range(2))
    assert first["body"] == again["body"]
    assert first["headers"]["webhook-id"] == again["headers"]["webhook-id"]
    for each in (first, again):
        event = Webhook(secret).verify(each["body"], each["headers"])
        assert (event["type"], event["data"]["id"]) == ("job.succeeded", job["id"])
