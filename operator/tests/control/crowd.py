"""For tests with hundreds of jobs: watches that miss nothing, and a kubelet for everybody's pods."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from hack.testing.apiserver import ApiServer

from .harness import until

WORK_SECONDS = 0.2
"""How long a pod works."""


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


class Kubelet:
    """Runs every pod of the operator's: a moment of work, then the last word that `ends` decides."""

    def __init__(self, server: ApiServer, ends: Callable[[dict[str, str]], tuple[int, dict[str, Any]]]) -> None:
        self._server = server
        self._ends = ends
        self._pool = ThreadPoolExecutor(8)
        self._seen: set[str] = set()
        self.watch = Watch(server, "/api/v1/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dsteno", self._told)

    def _told(self, kind: str, pod: Any) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "ADDED" and uid not in self._seen:
            self._seen.add(uid)
            self._pool.submit(self._work, pod)

    def _work(self, pod: Any) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        began = _now()
        time.sleep(WORK_SECONDS)
        code, word = self._ends(metadata["labels"])
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": json.dumps({"result": word}),
            "startedAt": began,
            "finishedAt": _now(),
        }
        container = {
            "name": "worker", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
            "state": {"terminated": terminated},
        }  # fmt: skip
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}
        answer = self._server.request(
            "PATCH", path, {"metadata": {"uid": metadata["uid"]}, "status": status},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert answer.status in (200, 404, 409), answer.message  # a suspended job's pod may be gone by now

    def close(self) -> None:
        self.watch.close()
        self._pool.shutdown()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
