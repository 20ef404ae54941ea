"""For tests with hundreds of jobs: watches that miss nothing, and a fake kubelet."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tests.support.apiserver import ApiServer

from .harness import until
from .objects import manifest_of

WORK_SECONDS = 0.2
"""How long a pod works."""
GRACE_SECONDS = 2.0
"""How long a pod that is deleted goes on."""


class Watch:
    """Hands every event of a watch to `sink(type, object)`, in order, from the state as of its start."""

    def __init__(self, server: ApiServer, path: str, sink: Callable[[str, Any], None]) -> None:
        self._sink = sink
        self.error: Exception | None = None
        listed = until(f"a list of {path}", lambda: self._list(server, path))
        for item in listed["items"]:
            sink("ADDED", item)
        address = urlsplit(server.url)
        context = ssl.create_default_context(cafile=str(server.ca))
        self._connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context)
        joint = "&" if "?" in path else "?"
        version = listed["metadata"]["resourceVersion"]
        self._connection.request(
            "GET",
            f"{path}{joint}watch=1&resourceVersion={version}&timeoutSeconds=600",
            headers={"Authorization": f"Bearer {server.token}"},
        )
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _list(server: ApiServer, path: str) -> Any:
        answer = server.request("GET", path)  # 429 for a moment, of a kind that was defined just now
        return answer.body if answer.status == 200 else None

    def _run(self) -> None:
        try:
            for line in self._answer:
                event = json.loads(line)
                self._sink(event["type"], event["object"])
            if not self._closed:
                self.error = AssertionError("the watch ended")
        except Exception as error:  # noqa: BLE001 - the test's own thread asks for it
            if not self._closed:
                self.error = error

    def close(self) -> None:
        self._closed = True
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(2)
        self._thread.join(10)


End = tuple[int, dict[str, Any]] | None
"""Exit code and result; None: it works until it is deleted."""


class Kubelet:
    """Runs every pod of the operator's in some namespaces: a moment of work, then the end that `ends` decides.

    As on a real node, a pod that is deleted while it works is there for a while longer.
    """

    def __init__(self, server: ApiServer, namespaces: Collection[str], ends: Callable[[dict[str, str]], End]) -> None:
        self._server = server
        self._namespaces = namespaces
        self._ends = ends
        self._node = f"node-{secrets.token_hex(3)}"
        made = server.request("POST", "/api/v1/nodes", {"metadata": {"name": self._node}})
        assert made.status == 201, made.message  # pods of a node that does not exist are collected
        self._pool = ThreadPoolExecutor(12)
        self._seen: set[str] = set()
        self._leaving: set[str] = set()
        self.errors: list[Exception] = []
        self.watch = Watch(server, "/api/v1/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dsteno", self._on_event)

    def _on_event(self, kind: str, pod: Any) -> None:
        uid = pod["metadata"]["uid"]
        if pod["metadata"]["namespace"] not in self._namespaces:  # another test's, on the same apiserver
            return
        if kind == "ADDED" and uid not in self._seen:
            self._seen.add(uid)
            self._do(self._work, pod)
        elif kind == "MODIFIED" and "deletionTimestamp" in pod["metadata"] and uid not in self._leaving:
            self._leaving.add(uid)
            self._do(self._leave, pod)

    def _do(self, step: Callable[[Any], None], pod: Any) -> None:
        def guarded() -> None:
            try:
                step(pod)
            except Exception as error:  # noqa: BLE001 - the test's own thread asks for it
                self.errors.append(error)

        self._pool.submit(guarded)

    def _leave(self, pod: Any) -> None:
        time.sleep(GRACE_SECONDS)
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        answer = self._server.request("DELETE", _path(pod), body)
        assert answer.status in (200, 404, 409), answer.message

    def _work(self, pod: Any) -> None:
        metadata = pod["metadata"]
        end = self._ends(metadata["labels"])
        # Without a node, a pod that is deleted is gone at once.
        bound = self._server.request(
            "POST", f"{_path(pod)}/binding", {"metadata": {"name": metadata["name"]}, "target": {"name": self._node}}
        )
        assert bound.status in (201, 404, 409), bound.message
        if end is None:
            return
        began = _now()
        time.sleep(WORK_SECONDS)
        code, result = end
        if "manifest" in result:
            result = {**result, "manifest": manifest_of(pod)}
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": json.dumps({"result": result}),
            "startedAt": began,
            "finishedAt": _now(),
        }
        container = {
            "name": "worker", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
            "state": {"terminated": terminated},
        }  # fmt: skip
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}
        answer = self._server.request(
            "PATCH", f"{_path(pod)}/status", {"metadata": {"uid": metadata["uid"]}, "status": status},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert answer.status in (200, 404, 409), answer.message  # a suspended job's pod may be gone by now

    def close(self) -> None:
        self.watch.close()
        self._pool.shutdown()


def _path(pod: Any) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
