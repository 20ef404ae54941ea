"""The operator's own parts on an API server made of a dictionary, where every request is held until a test lets it go.

What a test decides: whose request arrives next, whose answer, which watch delivers what and when, and when the operator
dies. Whatever the order, the apiserver's promises hold: one version after the other, preconditions, watches in order.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steno_kube.client import JSON, ApiError, Cluster, UnreachableError
from steno_kube.keys import Key
from steno_kube.object_cache import ObjectCache
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.control.kube.event_recorder import EventRecorder
from steno_operator.control.manager import controllers
from steno_operator.control.reconcile.executor import Executor
from steno_operator.control.reconcile.job_attempts import JobAttempts
from steno_operator.control.reconcile.message_attempts import MessageAttempts
from steno_operator.control.reconcile.queue_clients import QueueClients
from steno_operator.control.reconcile.reconciler import Reconciler
from steno_operator.control.reconcile.tenant_controller import QuotaActions
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.plan.common.policy import Policy

from .harness import SUMMARIES

POLICY = Policy(runtime_image="runtime:1", report_url="http://operator:8080", backoff_base=timedelta(seconds=1))
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KINDS = {
    "tenants": "Tenant",
    "tenantquotas": "TenantQuota",
    "transcriptionjobs": "TranscriptionJob",
    "ocrjobs": "OCRJob",
}


class SimulatedApiServer(Cluster):
    """All objects, the history of their changes, and the requests that are held."""

    def __init__(self) -> None:
        self._manager = "steno-operator"
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.history: list[tuple[str, str, dict[str, Any]]] = []  # plural, event, object
        self.held: list[tuple[str, asyncio.Future[None]]] = []  # method and plural, to be let go
        self.pod_births: list[int] = []  # where in the history pods begin
        self.now = START
        self.version = 0

    def seconds(self) -> float:
        """Return the present in seconds since 1970."""
        return self.now.timestamp()

    # The truth

    def put(self, plural: str, raw: dict[str, Any]) -> dict[str, Any]:
        metadata = raw["metadata"]
        where = (plural, metadata.get("namespace", ""), metadata["name"])
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"{plural}-{metadata['name']}-{self.version}")
        metadata.setdefault("creationTimestamp", f"{self.now:%Y-%m-%dT%H:%M:%SZ}")
        metadata.setdefault("generation", 1)
        if plural == "pods" and where not in self.objects:
            self.pod_births.append(len(self.history))
        self.objects[where] = copy.deepcopy(raw)
        self.history.append((plural, "MODIFIED", copy.deepcopy(raw)))
        return copy.deepcopy(raw)

    def drop(self, plural: str, namespace: str, name: str) -> None:
        raw = self.objects.pop((plural, namespace, name))
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((plural, "DELETED", raw))

    def all(self, plural: str) -> Iterator[dict[str, Any]]:
        return iter([copy.deepcopy(raw) for where, raw in self.objects.items() if where[0] == plural])

    # What the operator asks

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        if plural == "events":
            return {}
        await self._hold(f"{method} {plural}")
        answer = getattr(self, f"_{method.lower()}")(plural, namespace, name, options)
        await self._hold(f"{method} {plural}")
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def pages(
        self, path: str, query: Mapping[str, Any] | None = None, accept: str = JSON
    ) -> AsyncIterator[dict[str, Any]]:
        yield await self.request("GET", path, query=query, accept=accept)

    async def _hold(self, what: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.held.append((what, turn))
        await turn

    def serve(self, number: int = 0, what: str = "") -> bool:
        """Let one of those requests arrive, or its answer; returns whether there was one."""
        found = [item for item in self.held if what in item[0]]
        if found:
            self.held.remove(found[number % len(found)])
            found[number % len(found)][1].set_result(None)
        return bool(found)

    def _get(self, plural: str, namespace: str, name: str, options: dict[str, Any]) -> Any:
        if name:
            raw = self.objects.get((plural, namespace, name))
            return copy.deepcopy(raw) if raw is not None else ApiError(404, "NotFound", "not found")
        uid = (options.get("query") or {}).get("labelSelector", "=").partition("=")[2]
        items = [raw for raw in self.all(plural) if not uid or raw["metadata"]["labels"]["steno.dev/job-uid"] == uid]
        return {"items": items, "metadata": {"resourceVersion": str(self.version)}}

    def _post(self, plural: str, namespace: str, _: str, options: dict[str, Any]) -> Any:
        raw = copy.deepcopy(options["body"])
        if (plural, namespace, raw["metadata"]["name"]) in self.objects:
            return ApiError(409, "AlreadyExists", "exists")
        return self.put(plural, raw)

    def _patch(self, plural: str, namespace: str, name: str, options: dict[str, Any]) -> Any:
        raw, body = self.objects.get((plural, namespace, name)), options["body"]
        if raw is None:
            return ApiError(404, "NotFound", "not found")
        for field in ("uid", "resourceVersion"):
            if body.get("metadata", {}).get(field, raw["metadata"][field]) != raw["metadata"][field]:
                return ApiError(409, "Conflict", "changed")
        return self.put(plural, _merged(copy.deepcopy(raw), body))

    def _delete(self, plural: str, namespace: str, name: str, options: dict[str, Any]) -> Any:
        raw = self.objects.get((plural, namespace, name))
        if raw is None or raw["metadata"]["uid"] != options["body"]["preconditions"]["uid"]:
            return ApiError(404, "NotFound", "not found")
        if plural != "jobs":
            self.drop(plural, namespace, name)
            return {}
        raw["metadata"]["deletionTimestamp"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        return self.put(plural, copy.deepcopy(raw))


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = _merged(target.get(name), value)
    return target


class SimulatedOperator:
    """One process: its caches, filled like a new leader's, and the tasks that are under way in it."""

    def __init__(self, server: SimulatedApiServer, profiles: list[dict[str, Any]]) -> None:
        self.server = server
        self.due: dict[Key, None] = {}
        self.delivered: defaultdict[str, int] = defaultdict(lambda: len(server.history))
        self.running: dict[Key, asyncio.Task[float | None]] = {}
        self.state = ClusterState(clock=server.seconds)
        Subscriptions(self.state, lambda key: self.due.setdefault(key, None))
        for raw in profiles:
            self.state.profiles.upsert(raw)
        for plural in (*KINDS, "jobs", "pods"):
            self.delivered[plural] = len(server.history)
            for raw in server.all(plural):
                self._put(plural, raw)
        attempts, quotas = JobAttempts(server, self.state), QuotaActions(server, self.state)
        executor = Executor(server, self.state, {**attempts.handlers, **quotas.handlers})
        messages = MessageAttempts(QueueClients(None), self.state)  # without a queue server
        served = controllers(server, self.state, {"Job": attempts, "Pool": messages})
        self._reconciler = Reconciler(
            self.state, executor, EventRecorder(server, "operator-0"), served, POLICY, clock=lambda: server.now
        )

    def _put(self, plural: str, raw: dict[str, Any]) -> None:
        self._cache(plural).upsert(raw)

    def _cache(self, plural: str) -> ObjectCache[Any]:
        caches = {"jobs": self.state.jobs, "pods": self.state.pods, "tenantquotas": self.state.quotas}
        return caches.get(plural, self.state.resources)

    def deliver(self, plural: str, count: int) -> None:
        """Deliver the next changes of a watch."""
        while count and self.delivered[plural] < len(self.server.history):
            of, event, raw = self.server.history[self.delivered[plural]]
            if of == "jobs":
                self._deliver_pods_born(self.delivered[plural])
            self.delivered[plural] += 1
            if of != plural:
                continue
            count -= 1
            if event != "DELETED":
                self._put(plural, copy.deepcopy(raw))
            else:
                self._cache(plural).delete(raw["metadata"]["uid"])

    def _deliver_pods_born(self, before: int) -> None:
        """The watches of Jobs and pods are not a pod's whole life apart: one that was made is known."""
        born = max((index for index in self.server.pod_births if index < before), default=-1)
        while self.delivered["pods"] <= born:
            self.deliver("pods", 1)

    def reconcile(self, key: Key) -> None:
        """Begin to reconcile a resource, unless that is under way."""
        if key not in self.running:
            self.due.pop(key, None)
            self.running[key] = asyncio.ensure_future(self._reconciler.reconcile(key))

    async def settle(self) -> None:
        """Let everything run until it waits for the server."""
        for _ in range(12):
            await asyncio.sleep(0)
        for key, task in list(self.running.items()):
            if task.done():
                del self.running[key]
                try:
                    task.result()
                except (RetryError, ApiError, UnreachableError):
                    self.due.setdefault(key, None)

    async def crash(self) -> None:
        for task in self.running.values():
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)


def runtime_profile(gpus: int) -> dict[str, Any]:
    """Return a RuntimeProfile `gpus-<number>` whose pods ask for that many GPUs."""
    accelerator = {"accelerator": {"resource": "nvidia.com/gpu", "count": gpus}}
    metadata = {"name": f"gpus-{gpus}", "uid": f"r{gpus}", "resourceVersion": "1"}
    return {"kind": "RuntimeProfile", "metadata": metadata, "spec": accelerator if gpus else {}}


def termination_message(kind: str, seconds: float, pages: int, directory: str = "s3://results/ns/talk/u1") -> str:
    """Return the termination message of a worker that published.

    Args:
        kind: of the job.
        seconds: of audio.
        pages: of a document.
        directory: the job's result directory.
    """
    figures = {"pages": pages} if kind == "OCRJob" else {"duration": seconds}
    result = {
        "outcome": "Succeeded", "manifest": f"{directory}/manifest.json", "artifacts": [],
        "summary": {**SUMMARIES[kind], **figures},
    }  # fmt: skip
    return json.dumps({"result": result})
