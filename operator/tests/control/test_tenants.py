"""Limits of Tenants with a real apiserver and Job controller, several operators, and leaders that are killed."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .fake_kubelet import End, Kubelet, Watch
from .harness import GROUP, SUMMARIES, OperatorHarness, Replica

pytestmark = pytest.mark.apiserver

LIMITS = [
    {"gpus": 2, "concurrentJobs": 3},
    {"gpus": 3, "concurrentJobs": 4},
    {"gpus": 4, "concurrentJobs": 5},
    {"gpus": 3, "concurrentJobs": 6},
    {"gpus": 2},
]
JOBS = 200
ENDLESS = range(JOBS, JOBS + len(LIMITS))
"""One more job of each tenant, which works until it is stopped; the first to be admitted."""
GPUS = (0, 1, 2)
"""Accelerators of the three profiles."""


class TenantLoad:
    """Tenants of two namespaces each, profiles, and a watcher that checks the limits at every event."""

    def __init__(self, harness: OperatorHarness) -> None:
        self.harness = harness
        self.mark = secrets.token_hex(3)
        self.limits = {f"tenant-{number}-{self.mark}": limits for number, limits in enumerate(LIMITS)}
        self.spaces = {name: [harness.server.namespace("team") for _ in range(2)] for name in self.limits}
        self.tenant_of = {space: name for name, spaces in self.spaces.items() for space in spaces}
        self.violations: list[str] = []
        self.live: dict[str, tuple[str, int]] = {}  # child Job UID → tenant, GPUs
        self.pods: dict[str, tuple[str, str, int]] = {}  # UID of a pod that works → tenant, job UID, GPUs
        self.at_work: set[str] = set()  # names of jobs
        self.lingering = 0
        self.peaks: Counter[str] = Counter()
        self.events = 0
        self.done: set[str] = set()
        self.phases: dict[str, str] = {}
        self.used: defaultdict[str, dict[str, Any]] = defaultdict(dict)  # tenant → day → usage
        self.tenants: dict[str, Any] = {}
        self.quotas: dict[str, Any] = {}

    def make(self) -> None:
        for count in GPUS:
            spec = {"accelerator": {"resource": "fake.example.com/gpu", "count": count}} if count else {}
            self.create(
                "runtimeprofiles", "", {"kind": "RuntimeProfile", "metadata": {"name": self.profile(count)}}, spec
            )
        for name, limits in self.limits.items():
            spec = {"namespaces": self.spaces[name], "limits": limits}
            self.create("tenants", "", {"kind": "Tenant", "metadata": {"name": name}}, spec)

    def profile(self, gpus: int) -> str:
        return f"gpus-{gpus}-{self.mark}"

    def create(self, plural: str, namespace: str, head: dict[str, Any], spec: dict[str, Any]) -> Any:
        where = f"{GROUP}/namespaces/{namespace}/{plural}" if namespace else f"{GROUP}/{plural}"
        return self.harness.must("POST", where, {"apiVersion": "steno.dev/v1alpha1", **head, "spec": spec})

    def job(self, number: int) -> Any:
        """Create one of the jobs; what it is follows from its number."""
        tenant = list(self.limits)[number % len(LIMITS)]
        space = self.spaces[tenant][number // len(LIMITS) % 2]
        spec = {
            "source": {"uri": "s3://meetings/talk.wav"},
            "output": {"uri": "s3://results"},
            "profileRef": {"name": self.profile(GPUS[number % len(GPUS)])},
            "priority": 7 if number in ENDLESS else number % 7,
        }
        kind = kind_of(number)
        return self.create(f"{kind.lower()}s", space, {"kind": kind, "metadata": {"name": f"job-{number}"}}, spec)

    def path(self, number: int) -> str:
        tenant = list(self.limits)[number % len(LIMITS)]
        space = self.spaces[tenant][number // len(LIMITS) % 2]
        return f"{GROUP}/namespaces/{space}/{kind_of(number).lower()}s/job-{number}"

    def suspend(self, number: int, *, suspend: bool) -> None:
        self.harness.patch(self.path(number), {"spec": {"suspend": suspend}})

    def delete(self, number: int) -> None:
        self.harness.must("DELETE", self.path(number), {"propagationPolicy": "Background"})

    # What the watches deliver

    def child(self, event: str, job: Any) -> None:
        tenant = self.tenant_of.get(job["metadata"]["namespace"])
        if tenant is None:
            return
        self.events += 1
        uid = job["metadata"]["uid"]
        conditions = {item["type"] for item in job.get("status", {}).get("conditions", ()) if item["status"] == "True"}
        ended = bool(conditions & {"Complete", "Failed"})
        if ended:
            self.done.add(uid)
        if event == "DELETED" or ended or job["spec"].get("suspend") or "deletionTimestamp" in job["metadata"]:
            self.live.pop(uid, None)
            return
        if job["metadata"]["labels"]["steno.dev/tenant"] != tenant:
            self.violations.append(f"{job['metadata']['name']} says it is another tenant's")
        self.live[uid] = (tenant, gpus_of(job["spec"]["template"]))
        mine = [count for owner, count in self.live.values() if owner == tenant]
        self.check(tenant, "live", gpus=sum(mine), concurrentJobs=len(mine))
        self.peaks[tenant] = max(self.peaks[tenant], sum(mine))

    def pod(self, event: str, pod: Any) -> None:
        """A pod has what it asks for until it ends or is gone, whatever became of its Job."""
        metadata = pod["metadata"]
        tenant = self.tenant_of.get(metadata["namespace"])
        if tenant is None:
            return
        self.events += 1
        if event == "DELETED" or pod["status"]["phase"] in ("Succeeded", "Failed"):
            self.pods.pop(metadata["uid"], None)
            return
        self.lingering += "deletionTimestamp" in metadata
        self.pods[metadata["uid"]] = (tenant, metadata["labels"]["steno.dev/job-uid"], gpus_of(pod))
        mine = [(job, gpus) for owner, job, gpus in self.pods.values() if owner == tenant]
        self.check(tenant, "pods", gpus=sum(gpus for _, gpus in mine), concurrentJobs=len({job for job, _ in mine}))
        if pod["spec"].get("nodeName"):
            self.at_work.add(metadata["labels"]["steno.dev/job"])

    def tenant(self, _: str, raw: Any) -> None:
        name = raw["metadata"]["name"]
        if name not in self.limits:
            return
        self.events += 1
        self.tenants[name] = raw

    def quota(self, _: str, raw: Any) -> None:
        name = raw["metadata"]["name"]
        if name not in self.limits:
            return
        self.events += 1
        self.quotas[name] = raw
        status = raw.get("status") or {}
        entries = status.get("reservations") or []
        jobs = sum(entry["jobs"] for entry in entries)
        self.check(name, "reservations", gpus=sum(entry["gpus"] for entry in entries), concurrentJobs=jobs)
        if "day" in status:
            self.used[name][status["day"]] = status

    def phase(self, _: str, job: Any) -> None:
        if job["metadata"]["namespace"] in self.tenant_of:
            self.phases[job["metadata"]["uid"]] = (job.get("status") or {}).get("phase", "")

    def check(self, tenant: str, what: str, **used: int) -> None:
        for name, count in used.items():
            if count > self.limits[tenant].get(name, count):
                self.violations.append(f"{what}: {tenant} uses {count} {name}")

    def succeeded(self) -> int:
        return Counter(list(self.phases.values()))["Succeeded"]


def running_jobs(tenant: Any) -> int:
    return tenant["status"]["usage"]["runningJobs"]


def gpus_of(pod: Any) -> int:
    [container] = pod["spec"]["containers"]
    return int(container.get("resources", {}).get("limits", {}).get("fake.example.com/gpu", 0))


def kind_of(number: int) -> str:
    return "OCRJob" if number % 8 == 0 else "TranscriptionJob"


def duration_of(number: int) -> float:
    return 10.125 + number * 0.25


def worker_result(labels: dict[str, str]) -> End:
    """Every tenth job fails at first; all succeed in the end, with audio or pages after their number."""
    number = int(labels["steno.dev/job"].rpartition("-")[2])
    if number in ENDLESS:
        return None
    if number % 10 == 3 and labels["steno.dev/attempt"] == "1":
        return 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    kind = labels["steno.dev/kind"]
    figures = {"pages": number} if kind == "OCRJob" else {"duration": duration_of(number)}
    return 0, {
        "outcome": "Succeeded", "manifest": "s3://results/manifest.json", "artifacts": [],
        "summary": {**SUMMARIES[kind], **figures},
    }  # fmt: skip


def leader(replicas: list[Replica]) -> Replica | None:
    return next((one for one in replicas if one.process.poll() is None and one.leads()), None)


@pytest.mark.slow
def test_two_hundred_jobs_of_five_tenants_never_pass_a_limit_though_leaders_die(harness):
    load = TenantLoad(harness)
    load.make()
    server = harness.server
    ours = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dsteno"
    watches = [
        Watch(server, f"/apis/batch/v1/jobs{ours}", load.child),
        Watch(server, f"/api/v1/pods{ours}", load.pod),
        Watch(server, f"{GROUP}/tenants", load.tenant),
        Watch(server, f"{GROUP}/tenantquotas", load.quota),
        Watch(server, f"{GROUP}/transcriptionjobs", load.phase),
        Watch(server, f"{GROUP}/ocrjobs", load.phase),
    ]
    kubelet = Kubelet(server, load.tenant_of, worker_result)
    for closing in (*watches, kubelet):
        harness.stack.callback(closing.close)
    spaces = ",".join(load.tenant_of)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load.job, [*ENDLESS, *range(JOBS // 2)]))
        for _ in range(2):
            harness.start(namespaces=spaces, log_level="INFO")
        list(pool.map(load.job, range(JOBS // 2, JOBS)))
    for number in ENDLESS:
        harness.until(f"job-{number} works", lambda name=f"job-{number}": name in load.at_work)
        if number % 2:
            load.suspend(number, suspend=True)
        else:
            load.delete(number)
    suspended = range(JOBS - 10, JOBS)
    for number in suspended:
        load.suspend(number, suspend=True)
    for ended in (50, 110):
        harness.until(f"{ended} jobs have succeeded", lambda enough=ended: load.succeeded() >= enough)
        victim = harness.until("a leader in the middle of work", lambda: load.live and leader(harness.replicas))
        victim.kill()
        harness.start(namespaces=spaces, log_level="INFO")
    for number in suspended:
        load.suspend(number, suspend=False)
    harness.until(f"all have succeeded: {Counter(load.phases.values())}", lambda: load.succeeded() == JOBS)
    harness.until(
        "nothing is reserved", lambda: not any(raw["status"].get("reservations") for raw in load.quotas.values())
    )
    harness.until("the Tenants say so", lambda: not any(map(running_jobs, load.tenants.values())))

    assert load.violations == []
    assert kubelet.errors == []
    assert [watch.error for watch in watches] == [None] * 6
    assert load.lingering >= len(ENDLESS)  # deleted at work, they were there for a while
    assert load.peaks == {name: limits["gpus"] for name, limits in load.limits.items()}  # they were all used
    assert len(load.done) >= JOBS + JOBS // 10 - len(suspended)  # those that failed first had two children
    for index, name in enumerate(load.limits):
        usage = load.tenants[name]["status"]["usage"]
        assert {key: usage[key] for key in ("gpus", "runningJobs", "queuedJobs", "streams")} == {
            "gpus": 0, "runningJobs": 0, "queuedJobs": 0, "streams": 0,
        }  # fmt: skip
        numbers = range(index, JOBS, len(LIMITS))
        days = load.used[name].values()  # two, should midnight pass
        latest = load.quotas[name]["status"]
        seconds = sum(duration_of(number) for number in numbers if kind_of(number) == "TranscriptionJob")
        assert sum(day["audioMillis"] for day in days) == seconds * 1000
        assert sum(day["pages"] for day in days) == sum(n for n in numbers if kind_of(n) == "OCRJob")
        assert usage["audioMinutesToday"] == usage["audioMillisToday"] // 60_000
        assert (usage["audioMillisToday"], usage["pagesToday"]) == (latest["audioMillis"], latest["pages"])
