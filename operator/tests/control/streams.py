"""Pools and sessions on a real control plane: the test is scheduler, kubelet and server."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from .harness import GROUP, OperatorHarness, Replica, _now, until


@dataclass
class Streams:
    """The pools and sessions of a harness."""

    harness: OperatorHarness
    began: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    lost: int = 0
    """Servers that were killed: who connects again does so later."""

    # Objects

    def path(self, kind: str, name: str = "") -> str:
        plural = {"pool": "runtimepools", "session": "streamsessions"}[kind]
        return f"{GROUP}/namespaces/{self.harness.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, kind: str, name: str, **spec: Any) -> Any:
        body = {
            "apiVersion": "steno.dev/v1alpha1",
            "kind": {"pool": "RuntimePool", "session": "StreamSession"}[kind],
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.harness.must("POST", self.path(kind), body)

    def pool(self, name: str = "default", **spec: Any) -> Any:
        return self.create(
            "pool", name, **{"profileRef": {"name": self.harness.namespace}, "scaleDownDelaySeconds": 0, **spec}
        )

    def session(self, name: str = "call", **spec: Any) -> Any:
        return self.create("session", name, **spec)

    def get(self, kind: str, name: str) -> Any:
        return self.harness.must("GET", self.path(kind, name))

    def status(self, kind: str, name: str) -> Any:
        return self.get(kind, name).get("status") or {}

    def condition(self, kind: str, name: str, condition: str) -> Any:
        conditions = self.status(kind, name).get("conditions") or ()
        return next((each for each in conditions if each["type"] == condition), {})

    def wait(self, kind: str, name: str, condition: str, reason: str | None = None, *, status: str = "True") -> Any:
        """Wait for a condition (and its reason); returns the resource's status."""

        def has_condition() -> bool:
            found = self.condition(kind, name, condition)
            return found.get("status") == status and reason in (None, found.get("reason"))

        try:
            until(f"{name} is {condition} {status} {reason}", has_condition)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {json.dumps(self.status(kind, name), indent=1)}") from None
        return self.status(kind, name)

    def delete(self, kind: str, name: str) -> None:
        self.harness.must("DELETE", self.path(kind, name), {"propagationPolicy": "Background"})

    def deployment(self, pool: str = "default") -> Any:
        path = f"/apis/apps/v1/namespaces/{self.harness.namespace}/deployments/{pool}-pool"
        return until(f"the Deployment of {pool}", lambda: self.found(path))

    def found(self, path: str) -> Any:
        answer = self.harness.call("GET", path)
        return answer.body if answer.status == 200 else None

    def secret(self, name: str) -> str:
        """Return the token in a Secret."""
        found = self.harness.must("GET", f"/api/v1/namespaces/{self.harness.namespace}/secrets/{name}")
        return base64.b64decode(found["data"]["token"]).decode()

    # The test as kubelet

    def pods(self, pool: str = "default") -> list[Any]:
        path = "/api/v1/namespaces/{ns}/pods?labelSelector=steno.dev/pool%3D" + pool
        return [pod for pod in self.harness.list(path) if "deletionTimestamp" not in pod["metadata"]]

    def set_server(self, pod: Any, *, ready: bool, state: dict[str, Any], **more: Any) -> None:
        container = {
            "name": "server", "image": "x", "imageID": "x", "ready": ready, "restartCount": 0, "state": state, **more,
        }  # fmt: skip
        conditions = [
            {"type": each, "status": "True" if ready else "False", "lastTransitionTime": _now()}
            for each in ("Ready", "ContainersReady")
        ]
        path = f"/api/v1/namespaces/{self.harness.namespace}/pods/{pod['metadata']['name']}/status"
        status = {"phase": "Running", "containerStatuses": [container], "conditions": conditions}
        self.harness.patch(path, {"status": status})

    def warm(self, count: int = 1, pool: str = "default") -> list[Any]:
        """Wait for this number of servers' pods and mark them as ready."""
        pods = until(
            f"{count} pods of {pool}", lambda: (found := self.pods(pool)) if len(self.pods(pool)) == count else []
        )
        for pod in pods:
            self.set_server(pod, ready=True, state={"running": {"startedAt": _now()}})
        return sorted(pods, key=lambda pod: pod["metadata"]["name"])

    def kill(self, pod: Any) -> None:
        path = f"/api/v1/namespaces/{self.harness.namespace}/pods/{pod['metadata']['name']}"
        self.harness.must("DELETE", path, {"gracePeriodSeconds": 0})
        self.lost += 1

    # The test as server

    def ref(self, kind: str, name: str) -> dict[str, str]:
        return {"namespace": self.harness.namespace, "name": name, "uid": self.get(kind, name)["metadata"]["uid"]}

    def session_report(self, name: str = "call", result: dict[str, Any] | None = None, **stats: Any) -> dict[str, Any]:
        """Return what a server reports of a session."""
        started = (self.began + timedelta(seconds=self.lost)).isoformat()
        report = {"session": self.ref("session", name), "started": started, "stats": stats}
        return report if result is None else {**report, "result": {"time": _now(), **result}}

    def report(self, replica: Replica, pod: Any, *sessions: Any, pool: str = "default") -> tuple[int, Any]:
        return post(replica, self.harness.token(pod), {"pool": self.ref("pool", pool), "sessions": list(sessions)})

    def send_report(self, replica: Replica, pod: Any, *sessions: Any, pool: str = "default") -> Any:
        """Post a report until the operator observes the pod; return its answer."""

        def answer() -> Any:
            code, body = self.report(replica, pod, *sessions, pool=pool)
            assert code in (200, 403, 503), (code, body)
            return {"end": [], "known": [], **body} if code == 200 else None

        return until("the report is taken", answer)


def post(replica: Replica, token: str, body: Any, path: str = "/v1/pools/reports") -> tuple[int, Any]:
    """Post a server's report, or a gateway's request; returns status and body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"http://127.0.0.1:{replica.report_port}{path}"
    request = urllib.request.Request(url, data=data, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def task_of(deployment: Any) -> Any:
    """Return the task in a Deployment."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return json.loads(container["args"][1])


def claims_of(token: str, deployment: Any) -> Any:
    """Check a token as the servers of that Deployment do, and return its claims."""
    task = task_of(deployment)
    audience = f"steno-pool:{task['pool']['namespace']}/{task['pool']['name']}"
    [key] = task["tokenKeys"]
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=audience, issuer="steno-operator")
