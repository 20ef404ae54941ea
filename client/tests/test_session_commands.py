"""StreamSessions in `steno stream --session` and the other commands, with a real apiserver and a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServer

from .conftest import API, Objects, Steno, until_served
from .server import TOKEN, recording, serving

pytestmark = pytest.mark.apiserver

PLURAL = "streamsessions"
RUN = [sys.executable, "-c", "from steno_client.cli import main; main()"]
READY = {"EndpointReady": ("True", "Ready", ""), "Ready": ("False", "WaitingForClient", "")}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "streamsessions.steno.dev"},
    "spec": {
        "group": "steno.dev",
        "scope": "Namespaced",
        "names": {"kind": "StreamSession", "plural": PLURAL, "singular": "streamsession", "shortNames": ["ss"]},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""Replaces the real definition if the apiserver does not have it."""


@pytest.fixture(scope="session", autouse=True)
def definition(apiserver: ApiServer) -> None:
    if apiserver.request("GET", f"{API}/{PLURAL}").status == 404:
        apiserver.kubectl("apply", "--filename", "-", stdin=json.dumps(CRD))
        apiserver.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/streamsessions.steno.dev")
    until_served(apiserver, PLURAL)


def session(objects: Objects, name: str = "standup") -> None:
    objects.create(PLURAL, "StreamSession", name)


def ready(objects: Objects, url: str, name: str = "standup") -> dict[str, Any]:
    """The status of a session that a client can use."""
    endpoint = f"{url}/stt/realtime?session={objects.namespace}/{name}"
    endpoints = [{"protocol": "GRPC", "url": "host:9090"}, {"protocol": "WebSocket", "url": endpoint}]
    return {"phase": "Ready", "endpoints": endpoints, "tokenSecretName": "standup-token", "conditions": READY}


def test_a_session_by_its_name_is_waited_for(apiserver: ApiServer, objects: Objects, tmp_path: Path):
    session(objects)
    objects.secret("standup-token", token=TOKEN)
    file = recording(tmp_path / "speech.wav")
    command = [*RUN, "stream", str(file), "--session", "standup", "-n", objects.namespace, "--speed", "10"]
    command += ["--kubeconfig", str(apiserver.kubeconfig)]
    with serving() as server, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "Pending  the operator has not seen it yet: is the operator running?\n"
        waiting = {"phase": "Waiting", "queue": {"reason": "Unschedulable", "message": "no node has a GPU"}}
        objects.status(PLURAL, "standup", **waiting)
        assert process.stderr.readline() == "Waiting  Unschedulable: no node has a GPU\n"
        objects.status(PLURAL, "standup", **ready(objects, server.url), queue=None)
        assert process.stdout.read() == "Hello there.\n안녕하세요.\n"
        assert process.wait(30) == 0
    (one,) = server.sessions
    assert one.authorization == f"Bearer {TOKEN}"
    assert one.path == f"/stt/realtime?session={objects.namespace}/standup"
    assert one.start["session_id"] == "standup"


def test_a_session_through_a_forwarded_port(steno: Steno, objects: Objects, tmp_path: Path):
    session(objects)
    objects.secret("standup-token", token=TOKEN)
    objects.status(PLURAL, "standup", **ready(objects, "ws://default-pool.x.svc.cluster.invalid:8080"))
    file = str(recording(tmp_path / "speech.wav"))
    inside = steno("stream", file, "--session", "ss/standup")
    assert inside.exit_code == 75
    assert "kubectl -n x port-forward svc/default-pool 8080" in inside.stderr
    with serving() as server:
        done = steno("stream", file, "--session", "standup", "--url", server.url, "--speed", "10")
    assert done.exit_code == 0, done.output
    assert server.sessions[0].path == f"/stt/realtime?session={objects.namespace}/standup"


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        ({"conditions": {"Complete": ("True", "ClientEnded", "")}}, (1, "streamsession/standup has ended (")),
        (
            {"conditions": {"Failed": ("True", "QuotaExceeded", "3 of 3 streams are open.")}},
            (1, "has ended (QuotaExceeded: 3 of 3 streams are open.): create another StreamSession"),
        ),
        ({"tokenSecretName": "absent"}, (66, "the Secret absent is not in the namespace")),
        ({"tokenSecretName": None}, (69, "does not publish a WebSocket endpoint with a token")),
        ({}, (69, "the Secret standup-token has no key `token`")),
    ],
)
def test_a_session_that_cannot_be_used(
    steno: Steno, objects: Objects, tmp_path: Path, status: dict[str, Any], refusal: tuple[int, str]
):
    session(objects)
    objects.secret("standup-token", other="x")
    objects.status(PLURAL, "standup", **{**ready(objects, "ws://127.0.0.1:9"), **status})
    done = steno("stream", str(recording(tmp_path / "speech.wav")), "--session", "standup")
    assert done.exit_code == refusal[0], done.output
    assert refusal[1] in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_session_and_a_resource_of_another_kind(steno: Steno, objects: Objects, tmp_path: Path):
    objects.job("standup")
    file = str(recording(tmp_path / "speech.wav"))
    absent = steno("stream", file, "--session", "standup")
    assert absent.exit_code == 66
    assert "streamsession/standup is not in the namespace" in absent.stderr
    assert "transcriptionjob/standup is not a StreamSession" in steno("stream", file, "--session", "tj/standup").stderr


def test_status_and_tail_of_a_session(steno: Steno, objects: Objects):
    session(objects)
    stats = {"audioSeconds": 31.5, "segments": 4, "finalLatencyMillis": 420}
    status = ready(objects, "ws://h:8080") | {"phase": "Active", "stats": stats}
    objects.status(PLURAL, "standup", **status)
    row = steno("status").stdout.splitlines()[1]
    assert row.split()[:5] == ["streamsession/standup", "Active", "32", "s", "audio"]
    one = steno("status", "ss/standup").stdout
    assert f"ws://h:8080/stt/realtime?session={objects.namespace}/standup" in one
    assert "finalLatencyMillis" in one
    objects.status(PLURAL, "standup", phase="Succeeded", conditions={"Complete": ("True", "ClientEnded", "")})
    done = steno("tail", "ss/standup")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("streamsession/standup succeeded: audioSeconds 31.5, segments 4")


def test_a_session_from_a_manifest(steno: Steno, objects: Objects, tmp_path: Path):
    manifest = {"apiVersion": "steno.dev/v1alpha1", "kind": "StreamSession", "metadata": {"name": "live"}, "spec": {}}
    (tmp_path / "live.yaml").write_text(json.dumps(manifest))
    done = steno("submit", str(tmp_path / "live.yaml"))
    assert (done.exit_code, done.stdout) == (0, "streamsession/live\n")
    assert objects.get(PLURAL, "live")["metadata"]["name"] == "live"
