"""Tenants with the operator's own caches, reconciler and executor, in any order of requests, answers and watches."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_kube.keys import Key
from tests.support.properties import slow_examples

from .simulation import KINDS, SimulatedApiServer, SimulatedOperator, runtime_profile, termination_message

LIMITS: dict[str, dict[str, int]] = {"acme": {"gpus": 3, "concurrentJobs": 3}, "beta": {"gpus": 2}}
SPACES = {"acme-1": "acme", "acme-2": "acme", "beta-1": "beta"}
WATCHED = (*KINDS, "jobs", "pods")
PROFILES = [runtime_profile(count) for count in range(3)]


class SimulatedCluster:
    """The server, the operator, and the moves of everything else."""

    def __init__(self) -> None:
        self.server = SimulatedApiServer()
        for name, limits in LIMITS.items():
            spaces = [space for space, owner in SPACES.items() if owner == name]
            head = {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}}
            self.server.put("tenants", {**head, "spec": {"namespaces": spaces, "limits": limits}})
        self.profiles = list(PROFILES)
        self.operator = SimulatedOperator(self.server, self.profiles)
        self.jobs = 0
        self.crashes = 0
        self.done: dict[str, tuple[str, str, str, int]] = {}  # pod UID → resource UID, tenant, field, how much
        self.unaccountable: set[str] = set()

    # What users, the cluster and chance do; each does nothing where it does not apply

    def create(self, number: int) -> None:
        plural = "ocrjobs" if number % 5 == 0 else "transcriptionjobs"
        self.jobs += 1
        head = {"apiVersion": "steno.dev/v1alpha1", "kind": KINDS[plural]}
        spec = {
            "source": {"uri": "s3://meetings/talk.wav"}, "output": {"uri": "s3://results"},
            "profileRef": {"name": f"gpus-{number % 3}"}, "priority": number % 2, "suspend": number % 11 == 0,
            **({"ttlPolicy": "DeleteResource", "ttlSecondsAfterFinished": 0} if number % 7 == 0 else {}),
        }  # fmt: skip
        metadata = {"name": f"job{self.jobs}", "namespace": list(SPACES)[number % len(SPACES)]}
        self.server.put(plural, {**head, "metadata": metadata, "spec": spec})

    def add(self, namespace: str, *, gpus: int) -> Key:
        """Create a TranscriptionJob."""
        self.create(0)
        [*_, where] = [where for where in self.server.objects if where[2] == f"job{self.jobs}"]
        raw = self.server.objects.pop(where)
        self.server.history.pop()
        raw["metadata"] = {"name": f"job{self.jobs}", "namespace": namespace}
        spec = {**raw["spec"], "profileRef": {"name": f"gpus-{gpus}"}, "suspend": False}
        raw |= {"kind": "TranscriptionJob", "spec": spec}
        raw["spec"] = {name: value for name, value in raw["spec"].items() if not name.startswith("ttl")}
        self.server.put("transcriptionjobs", raw)
        return Key("TranscriptionJob", namespace, f"job{self.jobs}")

    def all_jobs(self) -> list[tuple[str, dict[str, Any]]]:
        return [(plural, raw) for plural in ("transcriptionjobs", "ocrjobs") for raw in self.server.all(plural)]

    def suspend(self, number: int) -> None:
        if found := self.all_jobs():
            plural, raw = found[number % len(found)]
            raw["spec"]["suspend"] = not raw["spec"]["suspend"]
            raw["metadata"]["generation"] += 1
            self.server.put(plural, raw)

    def delete(self, number: int) -> None:
        if (found := self.all_jobs()) and number % 2 == 0:
            plural, raw = found[number % len(found)]
            self.server.drop(plural, raw["metadata"]["namespace"], raw["metadata"]["name"])

    def orphan(self, number: int) -> None:
        """A user deletes a job and leaves what works for it (`--cascade=orphan`)."""
        if not (found := self.all_jobs()) or number % 3:
            return
        plural, raw = found[number % len(found)]
        metadata = raw["metadata"]
        self.server.put(plural, {**raw, "metadata": {**metadata, "deletionTimestamp": metadata["creationTimestamp"]}})
        for job in [job for job in self.server.all("jobs") if _owner(job) == metadata["uid"]]:
            job["metadata"]["ownerReferences"] = []
            self.server.put("jobs", job)
        self.server.drop(plural, metadata["namespace"], metadata["name"])

    def live(self) -> list[dict[str, Any]]:
        return [job for job in self.server.all("jobs") if not _over(job)]

    def at_work(self) -> list[dict[str, Any]]:
        """Return what has not come to rest: a Job that was left behind while suspended is resumed by nothing."""
        return [job for job in self.live() if _owner(job) or not job["spec"]["suspend"] or self.pods(job)]

    def pods(self, job: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the pods of a Job, or all."""
        owners = (None,) if job is None else (job["metadata"]["uid"],)
        return [pod for pod in self.server.all("pods") if job is None or _owner(pod) in owners]

    def control(self, number: int) -> None:
        """The Job controller and the garbage collector catch up with one Job."""
        if not (found := [job for job in self.server.all("jobs") if self.doomed(job) or not _over(job)]):
            return
        job = found[number % len(found)]
        metadata, pods = job["metadata"], self.pods(job)
        if "deletionTimestamp" in metadata:  # in the foreground: the pods go first
            for pod in pods:
                self.remove(pod)
            if not self.pods(job):
                self.server.drop("jobs", metadata["namespace"], metadata["name"])
        elif self.doomed(job):  # in the background: the pods follow
            self.server.drop("jobs", metadata["namespace"], metadata["name"])
        elif ended := [pod for pod in pods if not _works(pod)]:
            good = any(pod["status"]["phase"] == "Succeeded" for pod in ended)
            self.set(job, "Complete" if good else "Failed", is_true=True)
        elif job["spec"]["suspend"] != ("Suspended" in _conditions(job)):
            for pod in pods if job["spec"]["suspend"] else ():
                self.remove(pod)
            self.set(job, "Suspended", is_true=job["spec"]["suspend"])
        elif not job["spec"]["suspend"] and not pods:
            owner = {"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
            name = f"{metadata['name']}-{len(self.server.history)}"
            head = {"name": name, "namespace": metadata["namespace"], "labels": metadata["labels"]}
            spec = job["spec"]["template"]["spec"]
            body = {"metadata": {**head, "ownerReferences": [owner]}, "spec": spec, "status": {"phase": "Running"}}
            self.server.put("pods", body)

    def remove(self, pod: dict[str, Any]) -> None:
        """Deletes a pod: one that works is given time to end."""
        if not _works(pod):
            self.server.drop("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        elif "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = f"{self.server.now:%Y-%m-%dT%H:%M:%SZ}"
            self.server.put("pods", pod)

    def reap(self, number: int) -> None:
        """The kubelet is done with a pod that is being deleted, or the collector finds one whose Job is gone."""
        jobs = {job["metadata"]["uid"] for job in self.server.all("jobs")}
        leaving = [pod for pod in self.pods() if "deletionTimestamp" in pod["metadata"] or _owner(pod) not in jobs]
        if leaving:
            pod = leaving[number % len(leaving)]
            if "deletionTimestamp" in pod["metadata"]:
                self.server.drop("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            else:
                self.remove(pod)

    def doomed(self, job: dict[str, Any]) -> bool:
        """Whether a child is on its way out: it is being deleted, or its owner is gone."""
        owners = {raw["metadata"]["uid"] for plural in KINDS for raw in self.server.all(plural)}
        return "deletionTimestamp" in job["metadata"] or _owner(job) not in {"", *owners}

    def set(self, job: dict[str, Any], kind: str, *, is_true: bool) -> None:
        time = f"{self.server.now:%Y-%m-%dT%H:%M:%SZ}"
        others = [item for item in job.get("status", {}).get("conditions", ()) if item["type"] != kind]
        turned = {"type": kind, "status": str(is_true), "lastTransitionTime": time}
        job["status"] = {"conditions": [*others, turned]}
        self.server.put("jobs", job)

    def finish(self, number: int) -> None:
        """A worker ends, well or not; one that is to stop may still publish."""
        if not (found := [pod for pod in self.pods() if _works(pod)]):
            return
        pod = found[number % len(found)]
        metadata, labels = pod["metadata"], pod["metadata"]["labels"]
        good = number % 4 != 0
        seconds, pages = 1.5 + len(self.server.history), 1 + number % 9
        directory = f"s3://results/{metadata['namespace']}/{labels['steno.dev/job']}/{labels['steno.dev/job-uid']}"
        ocr = labels["steno.dev/kind"] == "OCRJob"
        field, amount = ("pages", pages) if ocr else ("audioMillis", int(seconds * 1000))
        failure = {"outcome": "Failed", "reason": "OutputUnavailable", "message": "It does not answer."}
        unpublished = json.dumps({"used": {field: amount}, "result": failure})
        message = termination_message(labels["steno.dev/kind"], seconds, pages, directory) if good else unpublished
        state = {"terminated": {"exitCode": 0 if good else 75, "message": message}}
        phase = "Succeeded" if good else "Failed"
        self.server.put("pods", {**pod, "status": {
            "phase": phase, "containerStatuses": [{"name": "worker", "state": state}],
        }})  # fmt: skip
        self.done[metadata["uid"]] = (labels["steno.dev/job-uid"], SPACES[metadata["namespace"]], field, amount)

    def edit_profile(self, number: int) -> None:
        """The administrator changes what jobs that start from now on ask for."""
        for index in (1, 2):
            spec = {"accelerator": {"resource": "nvidia.com/gpu", "count": 1 + number % 2}}
            metadata = {**self.profiles[index]["metadata"], "resourceVersion": str(len(self.server.history) + 2)}
            self.profiles[index] = {**self.profiles[index], "metadata": metadata, "spec": spec}
            self.operator.state.profiles.upsert(self.profiles[index])

    def tick(self, number: int) -> None:
        self.server.now += timedelta(seconds=number % 60)

    # What the operator does, and what becomes of it

    def reconcile(self, number: int) -> None:
        if self.operator.due:
            self.operator.reconcile(list(self.operator.due)[number % len(self.operator.due)])

    def deliver(self, number: int) -> None:
        self.operator.deliver(WATCHED[number % len(WATCHED)], 1 + number // len(WATCHED) % 4)

    def serve(self, number: int) -> None:
        """One request arrives, or its answer does."""
        self.server.serve(number)

    async def step(self, move: Any, number: int) -> None:
        again = move(self, number)
        if again is not None:
            await again
        await self.operator.settle()
        self.check()

    async def settle_all(self, _: int) -> None:
        """Every watch delivers everything, every request is answered, and the Job controller catches up: once round."""
        for plural in WATCHED:
            self.operator.deliver(plural, 10**6)
        for key in list(self.operator.due):
            self.operator.reconcile(key)
        while self.operator.running:
            await self.operator.settle()
            while self.server.serve():
                pass
            self.check()
        for number in range(len(list(self.server.all("jobs")))):
            self.control(number)

    def check(self) -> None:
        used: defaultdict[str, dict[str, int]] = defaultdict(dict)  # tenant → resource UID → GPUs
        held = [pod for pod in self.pods() if _works(pod)]
        for job in self.live():
            metadata = job["metadata"]
            started = not (job["spec"]["suspend"] and "Suspended" in _conditions(job))
            if started and "deletionTimestamp" not in metadata and not self.pods(job):
                held.append({"metadata": metadata, "spec": job["spec"]["template"]["spec"]})  # its pod is about to come
        for pod in held:
            mine, uid = used[SPACES[pod["metadata"]["namespace"]]], pod["metadata"]["labels"]["steno.dev/job-uid"]
            [container] = pod["spec"]["containers"]
            gpus = int(container.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0))
            mine[uid] = mine.get(uid, 0) + gpus
        for name, limits in LIMITS.items():
            total = {"gpus": sum(used[name].values()), "concurrentJobs": len(used[name])}
            over = {key: total[key] for key, limit in limits.items() if total[key] > limit}
            assert not over, f"{name} uses {over}"

    def expected_usage(self, tenant: str, field: str, *, least: bool = True) -> int:
        """Return what a tenant has to be charged: at most what all its workers did, and at least what can be known."""
        found = ((pod, used) for pod, used in self.done.items() if not least or pod not in self.unaccountable)
        return sum(amount for _, (_, owner, of, amount) in found if (owner, of) == (tenant, field))

    def pod_uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def days(self, tenant: str) -> list[dict[str, Any]]:
        """Return the last usage of each day."""
        found: dict[str, dict[str, Any]] = {}
        for plural, _, raw in self.server.history:
            if plural == "tenantquotas" and raw["metadata"]["name"] == tenant and "status" in raw:
                found[raw["status"]["day"]] = raw["status"]
        return list(found.values())

    async def crash(self) -> None:
        """The operator is killed: requests on their way may arrive or not; a new one lists everything."""
        self.crashes += 1
        await self.operator.crash()
        # A new one cannot know what these did: their pods are gone, no status tells of them, and nothing was charged.
        reserved = {entry["uid"] for raw in self.server.all("tenantquotas") for entry in reservations(raw)}
        known = {pod["metadata"]["uid"] for pod in self.pods()}
        usages = [raw.get("status", {}).get("usage", {}) for _, raw in self.all_jobs()]
        known |= {each["process"].partition("-")[2] for usage in usages for each in usage.get("processes", ())}
        alive = {raw["metadata"]["uid"] for _, raw in self.all_jobs()}
        for pod, (uid, *_) in self.done.items():
            charged = uid not in reserved and uid not in alive
            if not charged and (pod not in known or (uid not in alive and pod not in self.pod_uids())):
                self.unaccountable.add(pod)
        self.server.held.clear()
        self.operator = SimulatedOperator(self.server, self.profiles)

    async def to_the_end(self) -> None:
        """Nothing is in the way any more: every job ends well."""
        for plural, raw in self.all_jobs():
            raw["spec"]["suspend"] = False
            raw["metadata"]["generation"] += 1
            self.server.put(plural, raw)
        for _ in range(400):
            self.operator.due |= dict.fromkeys(entry.value.key for entry in self.operator.state.resources)
            await self.settle_all(0)
            self.server.now += timedelta(minutes=7)
            for _ in self.pods():
                self.reap(0)
                self.finish(1)
            ended = all("completionTime" in raw.get("status", {}) for _, raw in self.all_jobs())
            quotas = list(self.server.all("tenantquotas"))
            if ended and not self.at_work() and len(quotas) == len(LIMITS) and not any(map(reservations, quotas)):
                return
        raise AssertionError(f"does not come to rest: {list(self.server.all('tenantquotas'))}")


C = SimulatedCluster
MOVES: list[Any] = [
    C.create, C.suspend, C.delete, C.orphan, C.finish, C.finish, C.tick,
    C.edit_profile,
    C.reap, *[C.control] * 4, *[C.settle_all] * 4,
    *[C.reconcile] * 8, *[C.deliver] * 6, *[C.serve] * 14,
]  # fmt: skip
histories = st.lists(st.integers(0, 360 * len(MOVES) - 1), min_size=30, max_size=90)
crashes = st.lists(st.integers(0, 90), max_size=3)


async def simulate(history: list[int], crashes: list[int]) -> SimulatedCluster:
    cluster = SimulatedCluster()
    for number in range(6):
        cluster.create(number)
    for step, code in enumerate(history):
        number, which = divmod(code, len(MOVES))
        await cluster.step(MOVES[which], number)
        if step in crashes:
            await cluster.crash()
    return cluster


def _conditions(job: dict[str, Any]) -> set[str]:
    return {item["type"] for item in job.get("status", {}).get("conditions", ()) if item["status"] == "True"}


def _over(job: dict[str, Any]) -> bool:
    return bool(_conditions(job) & {"Complete", "Failed"})


def _owner(raw: dict[str, Any]) -> str:
    return next((owner["uid"] for owner in raw["metadata"]["ownerReferences"]), "")


def _works(pod: dict[str, Any]) -> bool:
    return pod["status"]["phase"] == "Running"


def reservations(raw: dict[str, Any]) -> list[Any]:
    return (raw.get("status") or {}).get("reservations") or []


@pytest.mark.slow
@pytest.mark.long
@settings(slow_examples(16, 400), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories, crashes)
def test_no_order_of_events_passes_a_limit_and_all_usage_is_counted_once(history, crashes):
    async def run() -> None:
        cluster = await simulate(history, crashes)
        await cluster.to_the_end()
        await cluster.operator.crash()
        for raw in cluster.server.all("tenants"):
            name, usage = raw["metadata"]["name"], raw["status"]["usage"]
            assert (usage["gpus"], usage["runningJobs"], usage["queuedJobs"]) == (0, 0, 0)
            days = cluster.days(name)
            for field in ("audioMillis", "pages"):
                charged = sum(day.get(field, 0) for day in days)
                least, most = (cluster.expected_usage(name, field, least=which) for which in (True, False))
                assert least <= charged <= most
                assert cluster.crashes > 0 or charged == most

    asyncio.run(run())
