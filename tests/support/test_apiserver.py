"""The test control plane itself: isolated, with real tokens, and gone when its owner is."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hack.paths import ROOT
from tests.support.apiserver import StartError, _free_ports, serve, shared

pytestmark = pytest.mark.apiserver


def processes_in(folder: str) -> set[int]:
    """Programs that were started with `folder` in their command line."""
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if folder.encode() in words:
            found.add(int(entry.parent.name))
    return found


def wait_gone(process: int) -> None:
    """Wait until a process that is not a child of this one has ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([handle], [], [], 30)
        assert readable, f"process {process} still runs"
    finally:
        os.close(handle)


def test_a_token_of_a_service_account_is_known_to_token_review() -> None:
    server = shared()
    namespace = server.namespace()
    token = server.service_account_token(namespace, "worker", audiences=["steno-operator"])
    review = {"spec": {"token": token, "audiences": ["steno-operator"]}}
    answer = server.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert answer.body["status"]["authenticated"] is True
    assert answer.body["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:worker"
    other = {"spec": {"token": token, "audiences": ["someone-else"]}}
    answer = server.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", other)
    assert answer.body["status"].get("authenticated", False) is False


def test_rbac_is_on() -> None:
    server = shared()
    done = server.kubectl("auth", "can-i", "create", "transcriptionjobs", "--as=nobody", check=False)
    assert done.stdout.strip() == "no"


def test_the_job_controller_makes_pods() -> None:
    with serve(controllers=True) as server:
        namespace = server.namespace()
        server.kubectl("create", "job", "one", "--image=none", namespace=namespace)
        server.kubectl("wait", "job/one", "--for=jsonpath={.status.active}=1", "--timeout=30s", namespace=namespace)
        pods = server.kubectl("get", "pods", "-o", "name", namespace=namespace).stdout.split()
        assert len(pods) == 1
        folder = server.folder
    assert not folder.exists()
    assert processes_in(str(folder)) == set()


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    program = """
import sys
from tests.support.apiserver import serve
with serve() as server:
    print(server.folder, flush=True)
    sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    folder = owner.stdout.readline().strip()
    started = processes_in(folder)
    assert len(started) == 3  # etcd, kube-apiserver and their supervisor
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    for process in started:
        wait_gone(process)
    assert not Path(folder).exists()


def test_what_does_not_start_is_said_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hack.tools.path", lambda _: Path("/bin/false"))
    monkeypatch.setattr("tests.support.apiserver.START_SECONDS", 0.5)
    with pytest.raises(StartError, match="kube-apiserver did not become ready"), serve():
        pass


def test_free_ports_differ() -> None:
    assert len(set(_free_ports(20))) == 20
