"""Resources as large as a real API server takes them: the operator's memory is bounded, and others are served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.tests.helm import of_kind, render
from tests.support.apiserver import ApiServer, serve
from tests.support.properties import LONG

from .harness import GROUP, OperatorHarness, Replica, until

pytestmark = [pytest.mark.apiserver, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600 if LONG else 900)]

MIB = 2**20
COUNT = 1000 if LONG else 100
MOST = 300 * MIB
PATIENCE = 1200.0 if LONG else 120.0
POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
OPTIONS = {
    # What others keep of a gigabyte of objects is not measured, and would be all memory that there is: etcd's latest
    # writes, the cache of the API server, and the metadata of all resources in these two controllers.
    "etcd": ["--quota-backend-bytes=8589934592", "--snapshot-count=100", "--snapshot-catchup-entries=20"],
    "kube-apiserver": ["--watch-cache=false"],
    "kube-controller-manager": ["--controllers=-garbage-collector-controller,-resourcequota-controller"],
}
LABELS = {f"{'d' * 253}/label-{number:04}": "v" * 63 for number in range(64)}
"""As many as the chart's policy lets through, each as long as Kubernetes does."""
ALLOWED = {"labels": LABELS, "annotations": {"note": "x" * 32_000}}
LARGEST = {
    "labels": {f"{'d' * 253}/label-{number:04}": "v" * 63 for number in range(1450)},
    "annotations": {"note": "x" * 250_000},
}
"""What makes an object of about a mebibyte, together with the labels' names in `managedFields`."""


@pytest.fixture(params=["policy", "none"])
def metadata(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ALLOWED if request.param == "policy" else LARGEST


@pytest.fixture
def harness(tmp_path: Path, metadata: dict[str, Any]) -> Iterator[OperatorHarness]:
    """An API server for a gigabyte of objects, with the chart's policy where they keep to it."""
    with ExitStack() as stack:
        server = stack.enter_context(serve(controllers=True, options=OPTIONS, request_seconds=PATIENCE))
        server.apply_crds()
        if metadata is ALLOWED:
            rendered = render()
            for each in (each for kind in POLICY for each in of_kind(rendered, kind)):
                if "metadata-size" in each["metadata"]["name"]:
                    server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
        harness = OperatorHarness(server, server.namespace("served"), tmp_path, stack)
        harness.profile()
        yield harness


def resources(harness: OperatorHarness, metadata: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and body of objects of the kinds that anyone may create and the operator watches, without end."""
    spec = {"source": {"uri": "s3://in/a.pdf"}, "output": {"uri": "s3://out"}, "suspend": True}
    pod = {"restartPolicy": "Never", "containers": [{"name": "worker", "image": "x"}]}
    ours = {"app.kubernetes.io/managed-by": "steno", "steno.dev/job-uid": "1", "steno.dev/attempt": "1"}
    number = 0
    while True:
        number += 1
        kind = ("OCRJob", "TranscriptionJob", "TranscriptionJob", "OCRJob", "Job")[number % 5]
        own = {"profileRef": {"name": harness.namespace}} if kind != "Job" else {}
        body: dict[str, Any] = {"kind": kind, "metadata": {**metadata, "name": f"large-{number}"}}
        if kind == "Job":
            # With thousands of labels, the API server refuses the selector that it has made itself.
            body["metadata"]["labels"] = {**LABELS, **ours}
            yield "/apis/batch/v1/namespaces/{}/jobs", {
                **body, "apiVersion": "batch/v1", "spec": {"suspend": True, "template": {"spec": pod}},
            }  # fmt: skip
        else:
            path = f"{GROUP}/namespaces/{{}}/{kind.lower()}s"
            yield path, {**body, "apiVersion": "steno.dev/v1alpha1", "spec": {**spec, **own}}


def memory(replica: Replica) -> int:
    """Return the most that the operator has had of resident memory."""
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def serve_job(harness: OperatorHarness, name: str) -> None:
    """Have a job of another namespace run to its end."""
    harness.apply(name)
    harness.publish(harness.run_pod(f"{name}-1"))
    harness.wait("Complete", name)


def test_large_resources_of_one_namespace_cost_little_memory_and_delay_no_others(harness, metadata):
    server: ApiServer = harness.server
    crowded = server.namespace("crowded")
    bodies = resources(harness, metadata)

    def create(each: tuple[str, dict[str, Any]]) -> int:
        path, body = each[0].format(crowded), each[1]
        # A busy API server asks to come again, or says that it or etcd took too long.
        while (answer := server.request("POST", path, body)).status in (429, 500, 503, 504):
            assert answer.status == 429 or "time" in answer.message
        if answer.status == 409:  # but it did what it was asked to
            answer = server.request("GET", f"{path}/{body['metadata']['name']}")
        assert answer.status in (200, 201), answer.message
        return len(json.dumps(answer.body))

    with ThreadPoolExecutor(4) as threads:
        later = COUNT // 10
        sizes = list(threads.map(create, (next(bodies) for _ in range(COUNT - later))))
        assert metadata is ALLOWED or sum(sizes) > 0.9 * MIB * len(sizes)
        # Lists them all. Its lease is short in tests, and this API server is busy with what is created at once.
        replica = harness.spawn(namespaces=f"{harness.namespace},{crowded}", leader_election=False)
        until("the operator's probes", lambda: replica.get("/readyz")[0] == 200, PATIENCE)
        serve_job(harness, "first")
        sizes += threads.map(create, (next(bodies) for _ in range(later)))  # and is sent these
        serve_job(harness, "second")
    last = f"{GROUP}/namespaces/{crowded}/transcriptionjobs/large-{COUNT // 5 * 5 - 3}"
    until(
        "the status of the last job",
        lambda: harness.must("GET", last).get("status", {}).get("phase") == "Suspended",
        PATIENCE,
    )
    assert replica.process.poll() is None
    print(f"{len(sizes)} objects of {sum(sizes) / len(sizes) / MIB:.2f} MiB: {memory(replica) / MIB:.0f} MiB")
    assert memory(replica) <= MOST
