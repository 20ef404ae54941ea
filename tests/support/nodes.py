"""A test control plane with a real scheduler and fake nodes, whose pods succeed at once with a worker's result.

kwok plays the kubelets. Nothing runs in the pods: what is real is everything that the control plane does about them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from hack import tools
from tests.support.apiserver import ApiServer, StartError, serve

GPU = "nvidia.com/gpu"
FAST = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""The defaults, 20 requests a second, make everything wait for the controllers."""
TUNED = {
    "kube-controller-manager": (*FAST, "--concurrent-job-syncs=50", "--concurrent-gc-syncs=20"),
}
START_SECONDS = 30.0
_CONTAINERS = """\
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: fake
  restartCount: 0
  ready: READY
  started: READY
  state: STATE
{{ end }}
phase: PHASE
"""
_RUNNING = """\
startTime: {{ $now | Quote }}
conditions:
{{ range (list "Initialized" "Ready" "ContainersReady") }}
- {type: {{ . | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
"""


@contextmanager
def serve_nodes(count: int, gpus: int, messages: Mapping[str, str]) -> Generator[ApiServer]:
    """Start a control plane, tuned as a large cluster's is, with ready nodes. See `serve`.

    Args:
        count: how many nodes.
        gpus: how many GPUs each has.
        messages: value of a pod's label `steno.dev/kind` → termination message of its containers, which exit with 0.

    Raises:
        StartError: something ended or was not ready in time.
    """
    with serve(controllers=True, options=TUNED) as server:
        server.start(
            "kube-scheduler", str(tools.path("kube-scheduler")), f"--kubeconfig={server.kubeconfig}",
            "--leader-elect=false", "--secure-port=0", *FAST,
        )  # fmt: skip
        config = server.folder / "kwok.json"
        config.write_text("\n---\n".join(json.dumps(each) for each in kwok_config(messages)))
        server.start("kwok", str(tools.path("kwok")), f"--kubeconfig={server.kubeconfig}", f"--config={config}")
        for number in range(count):
            _node(server, f"node-{number:02}", gpus)
        _wait_for_a_pod(server, next(iter(messages)))
        yield server


def kwok_config(messages: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return kwok's configuration: how pods start, succeed and go. A document each."""
    options = {
        "manageAllNodes": True,
        "enableDebuggingHandlers": False,
        "podPlayStageParallelism": 16,
        "nodePlayStageParallelism": 4,
        "nodeLeaseParallelism": 4,
    }
    running = "{running: {startedAt: {{ $now | Quote }}}}"
    stages = [
        # Nodes are made whole; but kwok manages the pods only of nodes that it has a stage for.
        _stage("never", "Node", _is(**{".status.phase": "Never"}), {"statusTemplate": ""}),
        _stage("gone", "Pod", [{"key": _GOING, "operator": "Exists"}], {"delete": True}),
        _stage("run", "Pod", _stays(**{".status.phase": "Pending"}), _status(_RUNNING, "Running", running)),
    ]
    for kind, message in messages.items():
        ended = json.dumps({"exitCode": 0, "reason": "Completed", "message": message})
        times = "startedAt: {{ $.status.startTime | Quote }}, finishedAt: {{ $now | Quote }}"
        where = _stays(**{".status.phase": "Running", '.metadata.labels["steno.dev/kind"]': kind})
        state = f"{{terminated: {ended[:-1]}, {times}}}}}"
        stages.append(_stage(f"succeed-{kind.lower()}", "Pod", where, _status("", "Succeeded", state)))
    return [{"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options}, *stages]


_GOING = ".metadata.deletionTimestamp"


def _is(**fields: str) -> list[dict[str, Any]]:
    return [{"key": key, "operator": "In", "values": [value]} for key, value in fields.items()]


def _stays(**fields: str) -> list[dict[str, Any]]:
    return [{"key": _GOING, "operator": "DoesNotExist"}, *_is(**fields)]


def _status(head: str, phase: str, state: str) -> dict[str, str]:
    """Return what a pod's status becomes: of its phase, its containers in that state."""
    ready = str(phase == "Running").lower()
    words = {"READY": ready, "STATE": state, "PHASE": phase}
    text = _CONTAINERS
    for word, value in words.items():
        text = text.replace(word, value)
    return {"statusTemplate": "{{ $now := Now }}\n" + head + text}


def _stage(name: str, kind: str, where: list[dict[str, Any]], then: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": where},
            "next": then,
        },
    }


def _node(server: ApiServer, name: str, gpus: int) -> None:
    path = f"/api/v1/nodes/{name}"
    merge = "application/merge-patch+json"
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", GPU: str(gpus)}
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "A fake."}]
    status = {"capacity": capacity, "allocatable": capacity, "conditions": conditions}
    body = {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
    for method, where, content, kind in (
        ("POST", "/api/v1/nodes", body, "application/json"),
        ("PATCH", f"{path}/status", {"status": status}, merge),
        ("PATCH", path, {"spec": {"taints": None}}, merge),  # not-ready: the node lifecycle controller does not run
    ):
        answer = server.request(method, where, content, content_type=kind)
        if answer.status >= 300:
            raise StartError(f"{method} {where}: {answer.message}")


def _wait_for_a_pod(server: ApiServer, kind: str) -> None:
    """Wait until a pod was scheduled, ran and succeeded: scheduler and kwok work."""
    namespace = server.namespace("nodes")
    pod = {
        "metadata": {"name": "first", "labels": {"steno.dev/kind": kind}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "worker", "image": "none"}]},
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    end = time.monotonic() + START_SECONDS
    phase = ""
    created = False
    while time.monotonic() < end:
        if not created:  # refused until the controller manager made the namespace's ServiceAccount
            created = server.request("POST", path, pod).status == 201
        else:
            phase = server.request("GET", f"{path}/first").body["status"].get("phase", "")
            if phase == "Succeeded":
                return
        time.sleep(0.1)
    logs = [(server.folder / f"{name}.log").read_text(errors="replace")[-1500:] for name in ("kube-scheduler", "kwok")]
    raise StartError("\n".join([f"the first pod is {phase or 'not there'} after {START_SECONDS:.0f} s", *logs]))
