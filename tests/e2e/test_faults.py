"""Whatever is killed in the middle of a job, the same single result is published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.e2e.kube import Kube, Store, condition, decoding, is_true

SOURCE = "minutes-3.wav"


def kill_operators(kube: Kube) -> None:
    """SIGKILL to every replica."""
    kube.on_node("pkill", "-KILL", "-f", "bin/steno-operator$")


def kill_worker(kube: Kube) -> None:
    """SIGKILL to the worker's process, as the kernel would."""
    kube.on_node("pkill", "-KILL", "-f", f"bin/steno-worker .*{kube.namespace}")


def delete_pod(kube: Kube) -> None:
    """A user deletes the worker's pod."""
    kube.kubectl("delete", "pod", "-l", "steno.dev/job=call", "--wait=false")


def force_delete_pod(kube: Kube) -> None:
    """The pod vanishes from the apiserver without a word."""
    kube.kubectl("delete", "pod", "-l", "steno.dev/job=call", "--force", "--grace-period=0")


def kill_kubelet(kube: Kube) -> None:
    """SIGKILL to the node's kubelet; systemd starts another."""
    kube.on_node("systemctl", "kill", "-s", "SIGKILL", "kubelet")


def kill_both(kube: Kube) -> None:
    """Kill operator and worker at once, so that the operator does not see how the worker ended."""
    kube.on_node("pkill", "-KILL", "-f", f"bin/steno-(operator$|worker .*{kube.namespace})")


def delete_child(kube: Kube) -> None:
    """A user deletes the child Job."""
    kube.kubectl("delete", "job", "-l", "steno.dev/job=call", "--wait=false")


disruptive = pytest.mark.disruptive


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        pytest.param(kill_operators, 1, marks=disruptive),
        pytest.param(kill_kubelet, 1, marks=disruptive),
        (kill_worker, 2),
        (delete_pod, 2),
        (force_delete_pod, 2),
        pytest.param(kill_both, 2, marks=disruptive),
        (delete_child, 2),
    ],
)
def test_a_kill_in_the_middle(kube: Kube, store: Store, fault: Callable[[Kube], None], attempts: int) -> None:
    kube.transcribe("call", SOURCE)
    before = kube.until("call", decoding)
    fault(kube)
    job = kube.complete("call", timeout=400)
    assert job["metadata"]["uid"] == before["metadata"]["uid"]
    assert job["status"]["attempt"] == attempts
    keys = store.results(f"{kube.namespace}/call/")
    directory = f"{kube.namespace}/call/{job['metadata']['uid']}"
    assert keys == [f"{directory}/manifest.json", f"{directory}/transcript.json"]
    assert store.transcript(job)["transcript"].lower().count("new jersey") > 9
    manifest = json.loads(store.get(job["status"]["results"]["manifest"]))
    assert manifest["job"]["uid"] == job["metadata"]["uid"]
    kube.children_end("call")


def test_an_eviction_is_free(kube: Kube, store: Store) -> None:
    kube.transcribe("call", SOURCE, backoffLimit=0)
    kube.until("call", decoding)
    (pod,) = kube.pods("call")
    kube.core.create_namespaced_pod_eviction(
        pod.metadata.name, kube.namespace, {"metadata": {"name": pod.metadata.name, "namespace": kube.namespace}}
    )
    job = kube.complete("call", timeout=400)
    assert job["status"].get("failures", 0) == 0
    assert store.published(job)


def test_deleting_the_job_in_the_middle_ends_its_pods(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "minutes-20.wav")  # not over before it is deleted, however slow the test is
    kube.until("call", decoding)
    kube.kubectl("delete", "transcriptionjob", "call", "--timeout=60s")
    kube.kubectl("wait", "--for=delete", "pod", "-l", "steno.dev/job=call", "--timeout=60s")
    assert kube.children("call") == []
    assert store.keys(f"{kube.namespace}/call/") == []


def test_sigterm_stops_a_worker_within_its_grace(kube: Kube) -> None:
    kube.transcribe("call", "minutes-20.wav")
    kube.until("call", decoding)
    start = time.monotonic()
    said = kube.kubectl("delete", "pod", "-l", "steno.dev/job=call", "--timeout=60s")
    assert time.monotonic() - start < 30
    assert "deleted" in said  # kubectl is as content where no pod has the label


def test_suspend_and_resume(kube: Kube, store: Store) -> None:
    kube.transcribe("call", SOURCE)
    kube.until("call", decoding)
    kube.patch("call", {"suspend": True})
    job = kube.until("call", lambda j: is_true(j, "Suspended"), what="suspended")
    assert job["status"]["phase"] == "Suspended"
    kube.kubectl("wait", "--for=delete", "pod", "-l", "steno.dev/job=call", "--timeout=60s")
    kube.patch("call", {"suspend": False})
    job = kube.complete("call", timeout=400)
    assert job["status"]["attempt"] == 1
    assert store.published(job)


def test_a_deadline_ends_the_job(kube: Kube) -> None:
    kube.transcribe("call", "minutes-20.wav", activeDeadlineSeconds=12)
    job = kube.done("call")
    assert condition(job, "Failed")["reason"] == "DeadlineExceeded"
    kube.kubectl("wait", "--for=delete", "pod", "-l", "steno.dev/job=call", "--timeout=60s")
