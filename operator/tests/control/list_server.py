"""An API server of one collection: lists in pages and one watch, over HTTP, of objects of any size."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio import client

from steno_kube.client import Cluster


@dataclass
class ListServer:
    """Serves `objects`, each the JSON of one; what is added to `events` is sent to the watch."""

    objects: Sequence[bytes]
    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    url: str = ""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Of each page: where it began, and how many objects were asked for."""
    relisted: int = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Cluster]:
        """Serve, with a connection to it."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        cluster = Cluster(client.ApiClient(client.Configuration(host=self.url)))
        try:
            yield cluster
        finally:
            await cluster.close()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client may not read on
            await (self._watch(response) if "watch" in request.query else self._list(request, response))
        return response

    async def _list(self, request: web.Request, response: web.StreamResponse) -> None:
        first, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        self.asked.append((first, limit))
        self.relisted += first == 0
        more = str(first + limit) if first + limit < len(self.objects) else ""
        metadata = json.dumps({"resourceVersion": "1000000", "continue": more})
        await response.write(f'{{"kind":"TranscriptionJobList","metadata":{metadata},"items":['.encode())
        for number, each in enumerate(self.objects[first : first + limit]):
            await response.write(b"," if number else b"")
            await response.write(each)
        await response.write(b"]}\n")

    async def _watch(self, response: web.StreamResponse) -> None:
        while True:
            event = await self.events.get()
            await response.write(b'{"type":"MODIFIED","object":' + event + b"}\n")


def fat(raw: dict[str, Any], size: int = 2**20) -> dict[str, Any]:
    """Return an object with as much metadata as the API server takes: labels, annotations, fields' managers, owners."""
    labels = {f"label-{number:05}-{'n' * 40}": "v" * 60 for number in range(size // 240)}
    annotations = {f"note-{number}": "x" * 1000 for number in range(size // 4000)}
    metadata = raw["metadata"]
    more = {
        "labels": {**labels, **metadata.get("labels", {})},
        "annotations": {**annotations, **metadata.get("annotations", {})},
        "managedFields": [{"manager": "m" * 100, "fieldsV1": {f"f:{number}": {}}} for number in range(size // 1000)],
        "finalizers": [f"example.com/{number}" for number in range(size // 1000)],
        "ownerReferences": [
            *metadata.get("ownerReferences", []),
            *({"kind": "ConfigMap", "name": "o" * 100, "uid": str(number)} for number in range(size // 1000)),
        ],
    }
    return {**raw, "metadata": {**metadata, **more}}
