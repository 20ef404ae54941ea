"""`submit`, `status` and `tail` with a real apiserver; the tests take the part of the operator."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.apiserver import ApiServer

from .conftest import Objects, Steno

pytestmark = pytest.mark.apiserver

PLURAL = "transcriptionjobs"
SUBMIT = ("submit", "transcription", "--source", "s3://meetings/standup.m4a", "--output", "s3://transcripts/a")
RUN = [sys.executable, "-c", "from steno_client.cli import main; main()"]


@contextmanager
def running(server: ApiServer, namespace: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A `steno` that follows something, and its output."""
    command = [*RUN, *words, "--namespace", namespace]
    if "--kubeconfig" not in words:
        command += ["--kubeconfig", str(server.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stderr is not None
    return process.wait(60), process.stderr.read()


def test_a_job_from_options_is_created(steno: Steno, objects: Objects):
    options = [
        "--name",
        "standup",
        "--language",
        "ko",
        "--max-speakers",
        "3",
        "--secret",
        "keys",
        "--format",
        "json,srt",
    ]
    done = steno(*SUBMIT, *options, "--endpoint-url", "http://s3.x.svc:7070", "--priority", "5")
    assert done.exit_code == 0, done.output
    assert done.stdout == "transcriptionjob/standup\n"
    spec = objects.get(PLURAL, "standup")["spec"]
    place = {"secretRef": {"name": "keys"}, "endpointURL": "http://s3.x.svc:7070"}
    assert spec["source"] == {"uri": "s3://meetings/standup.m4a", **place}
    assert spec["output"] == {"uri": "s3://transcripts/a", "formats": ["json", "srt"], **place}
    assert (spec["language"], spec["diarization"], spec["priority"]) == ("ko", {"maxSpeakers": 3}, 5)
    assert spec["model"]["name"] == "large-v3"


def test_an_ocr_job_with_a_generated_name(steno: Steno, objects: Objects):
    done = steno("submit", "ocr", "-s", "https://x.org/Scan 7.pdf", "-o", "pvc://docs", "-l", "en,ko", "--secret", "s")
    assert done.exit_code == 64  # the claim takes no Secret: a rule that only the apiserver checks
    assert "spec.output.secretRef: " in done.stderr
    assert done.stderr.count("\n") == 1
    done = steno("submit", "ocr", "-s", "https://x.org/Scan 7.pdf", "-o", "pvc://docs", "-l", "en,ko", "--pages", "2-")
    assert done.exit_code == 0, done.output
    kind, _, name = done.stdout.strip().partition("/")
    assert kind == "ocrjob"
    assert name.startswith("scan-7-")
    spec = objects.get("ocrjobs", name)["spec"]
    assert (spec["languages"], spec["pages"], spec["source"]) == (
        ["en", "ko"],
        "2-",
        {"uri": "https://x.org/Scan 7.pdf"},
    )


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--source", "ftp://x/a"), 64, "TranscriptionJob standup: spec.source.uri: must be s3://bucket/key"),
        (("--min-speakers", "4", "--max-speakers", "2"), 64, "minSpeakers must not be greater than maxSpeakers"),
        (("--format", "docx"), 64, "spec.output.formats.0: Input should be"),
        (("--name", "a" * 58), 64, "metadata.name: must be at most 57"),
        (("--name", "Not_A_Name"), 64, "metadata.name: "),
        (("--context", "elsewhere"), 66, "no cluster is configured: "),
    ],
)
def test_a_wrong_job_is_refused_in_one_line(
    steno: Steno, objects: Objects, more: tuple[str, ...], code: int, message: str
):
    done = steno(*SUBMIT, "--name", "standup", *more)
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.startswith("steno: ")
    assert done.stderr.count("\n") == 1
    assert objects.server.request("GET", objects.path(PLURAL)).body["items"] == []


def test_the_same_name_twice(steno: Steno):
    assert steno(*SUBMIT, "--name", "standup").exit_code == 0
    again = steno(*SUBMIT, "--name", "standup")
    assert again.exit_code == 64
    assert '"standup" already exists: choose another name' in again.stderr


def manifest(name: str, uri: str = "s3://b/k.wav", namespace: str = "") -> str:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    spec = {"source": {"uri": uri}, "output": {"uri": "s3://out"}}
    return json.dumps(
        {"apiVersion": "steno.dev/v1alpha1", "kind": "TranscriptionJob", "metadata": metadata, "spec": spec}
    )


def test_several_files_are_created_all_or_none(steno: Steno, objects: Objects, tmp_path: Path, namespace: str):
    good, bad, ugly = (tmp_path / name for name in ("good.yaml", "bad.yaml", "ugly.yaml"))
    good.write_text(manifest("one") + "\n---\n" + manifest("two", namespace=namespace))
    bad.write_text(manifest("three", uri="s3://folder/"))  # only the apiserver knows that this is no file
    ugly.write_text(manifest("four", uri="nowhere"))
    for broken in (bad, ugly):
        done = steno("submit", str(good), "-f", str(broken))
        assert done.exit_code == 64
        assert "spec.source" in done.stderr
        assert str(broken) in done.stderr
        assert objects.server.request("GET", objects.path(PLURAL)).body["items"] == []
    done = steno("submit", str(good))
    assert done.stdout.split() == ["transcriptionjob/one", "transcriptionjob/two"]
    assert objects.get(PLURAL, "two")["metadata"]["managedFields"][0]["manager"] == "steno"


def test_a_manifest_of_another_namespace_is_refused(steno: Steno, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(manifest("one", namespace="team-b"))
    done = steno("submit", str(tmp_path / "a.yaml"))
    assert done.exit_code == 64
    assert "metadata.namespace is team-b" in done.stderr


def test_a_dry_run_does_not_contact_the_cluster(steno: Steno):
    done = steno(*SUBMIT, "--name", "standup", "--dry-run", KUBECONFIG="/nonexistent")
    assert done.exit_code == 0
    assert "kind: TranscriptionJob" in done.stdout
    assert "name: standup" in done.stdout


def test_an_ocr_jobs_engine_and_mode_are_values_of_the_api(steno: Steno):
    options = ("--source", "s3://scans/a.pdf", "--output", "s3://pages/a", "--engine", "rapidocr", "--mode", "redo")
    done = steno("submit", "ocr", *options, "--dry-run", KUBECONFIG="/nonexistent")
    assert done.exit_code == 0, done.stderr
    assert "engine: RapidOCR\n" in done.stdout
    assert "mode: Redo\n" in done.stdout


def test_a_job_is_followed_to_its_end(apiserver: ApiServer, namespace: str, objects: Objects):
    objects.job("standup")
    with running(apiserver, namespace, "tail", "tj/standup") as (process, out):
        assert out.readline() == "Pending  the operator has not seen it yet: is the operator running?\n"
        queue = {"reason": "Unschedulable", "message": "0/3 nodes have a GPU", "position": 2}
        objects.status(PLURAL, "standup", phase="Waiting", queue=queue)
        assert out.readline() == "Waiting  Unschedulable: 0/3 nodes have a GPU (position 2)\n"
        progress = {"stage": "Decoding", "percent": 43, "etaSeconds": 91.4, "message": "chunk 31 of 74"}
        objects.status(PLURAL, "standup", phase="Running", queue=None, attempt=1, progress=progress)
        assert out.readline() == "Running  43 %  Decoding: chunk 31 of 74  1:31 left\n"
        summary = {"duration": 61.5, "language": "en", "segments": 9, "processingSeconds": 4, "speed": 15, "model": "m"}
        ended = {"Complete": ("True", "Published", ""), "Ready": ("True", "Published", "")}
        objects.status(PLURAL, "standup", phase="Succeeded", progress=None, summary=summary, conditions=ended)
        assert out.readline().startswith("transcriptionjob/standup succeeded: duration 61.5, ")
        assert finish(process) == (0, "")


def test_a_failed_job_exits_with_one_and_its_reason(apiserver: ApiServer, namespace: str, objects: Objects):
    objects.job("standup")
    with running(apiserver, namespace, "tail", "standup") as (process, out):
        assert out.readline().startswith("Pending")
        failed = {"Failed": ("True", "SourceNotFound", "s3://meetings/a.m4a was not found.")}
        objects.status(PLURAL, "standup", phase="Failed", conditions=failed)
        code, said = finish(process)
    assert code == 1
    assert said == "steno: transcriptionjob/standup failed: SourceNotFound: s3://meetings/a.m4a was not found.\n"


def test_a_job_that_is_deleted_while_it_is_followed(apiserver: ApiServer, namespace: str, objects: Objects):
    objects.job("standup")
    with running(apiserver, namespace, "tail", "standup") as (process, out):
        assert out.readline().startswith("Pending")
        objects.delete(PLURAL, "standup")
        assert finish(process) == (66, "steno: transcriptionjob/standup was deleted before it finished\n")


def test_submit_can_wait(apiserver: ApiServer, namespace: str, objects: Objects):
    with running(apiserver, namespace, *SUBMIT, "--name", "standup", "--wait") as (process, out):
        assert out.readline() == "transcriptionjob/standup\n"
        assert out.readline().startswith("Pending")
        objects.status(PLURAL, "standup", conditions={"Complete": ("True", "Published", "")})
        assert out.readline() == "transcriptionjob/standup succeeded\n"
        assert finish(process) == (0, "")


def test_status_of_all_and_of_one(steno: Steno, objects: Objects, namespace: str):
    empty = steno("status")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert f"there are no jobs or sessions in the namespace {namespace}" in empty.stderr
    objects.job("standup")
    objects.create("ocrjobs", "OCRJob", "scan", source={"uri": "s3://b/k.pdf"}, output={"uri": "s3://out"})
    queue = {"reason": "ProfileNotFound", "message": "no RuntimeProfile gpu"}
    objects.status("ocrjobs", "scan", phase="Waiting", attempt=2, queue=queue, lastFailure={
        "attempt": 1, "reason": "NodeLost", "message": "The node went away.", "time": "2026-01-01T00:00:00Z",
    })  # fmt: skip
    head, *rows = steno("status").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "PROGRESS", "AGE", "WHY"]
    assert [row.split()[:2] for row in sorted(rows)] == [
        ["ocrjob/scan", "Waiting"],
        ["transcriptionjob/standup", "Pending"],
    ]
    assert min(rows).endswith("ProfileNotFound: no RuntimeProfile gpu")
    one = steno("status", "ocrjobs.steno.dev/scan").stdout
    assert "Last failure  attempt 1: NodeLost: The node went away." in one
    assert "Why           ProfileNotFound: no RuntimeProfile gpu" in one
    everywhere = steno("status", "-A")
    assert everywhere.stdout.startswith("NAMESPACE")
    assert namespace in everywhere.stdout


def test_unknown_and_ambiguous_names(steno: Steno, objects: Objects):
    absent = steno("status", "standup")
    assert absent.exit_code == 66
    assert "standup is not in the namespace" in absent.stderr
    unknown = steno("tail", "pod/standup")
    assert unknown.exit_code == 64
    assert "pod is not a kind that this command accepts: give one of transcriptionjob (tj), ocrjob (" in unknown.stderr
    objects.job("standup")
    objects.create("ocrjobs", "OCRJob", "standup", source={"uri": "s3://b/k.pdf"}, output={"uri": "s3://out"})
    several = steno("status", "standup")
    assert several.exit_code == 64
    assert "give transcriptionjob/standup or ocrjob/standup" in several.stderr


def test_forbidden_and_unauthorized_requests_are_reported(
    apiserver: ApiServer, namespace: str, objects: Objects, steno: Steno, tmp_path: Path
):
    token = apiserver.service_account_token(namespace, "guest")
    config = tmp_path / "config"
    config.write_text(apiserver.kubeconfig.read_text().replace(apiserver.token, token))
    done = steno("status", KUBECONFIG=str(config))
    assert done.exit_code == 77
    assert "is forbidden" in done.stderr
    assert token not in done.stderr
    config.write_text(apiserver.kubeconfig.read_text().replace(apiserver.token, "wrong"))
    assert steno("status", KUBECONFIG=str(config)).exit_code == 77


def test_a_cluster_that_does_not_answer(apiserver: ApiServer, steno: Steno, tmp_path: Path):
    config = tmp_path / "config"
    config.write_text(apiserver.kubeconfig.read_text().replace(apiserver.url, "https://127.0.0.1:9"))
    done = steno("status", KUBECONFIG=str(config))
    assert done.exit_code == 75
    assert done.stderr == (
        "steno: cannot reach the cluster at https://127.0.0.1:9: it does not answer: check the network and --context\n"
    )


class InterruptibleConnection:
    """A TCP connection to the apiserver that can be cut and restored."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._up = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks every connection, and every new one until it is restored."""
        with self._lock:
            self._up = False
            for one in self._open:
                one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def restore(self) -> None:
        with self._lock:
            self._up = True

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._lock:
                    if not self._up:
                        near.close()
                        continue
                    far = socket.create_connection(("127.0.0.1", self._to))
                    self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def test_an_outage_of_the_apiserver_is_survived(apiserver: ApiServer, namespace: str, objects: Objects, tmp_path: Path):
    objects.job("standup")
    port = int(apiserver.url.rpartition(":")[2])
    connection = InterruptibleConnection(port)
    config = tmp_path / "config"
    config.write_text(apiserver.kubeconfig.read_text().replace(f":{port}", f":{connection.port}"))
    with running(apiserver, namespace, "tail", "standup", "--kubeconfig", str(config)) as (process, out):
        assert out.readline().startswith("Pending")
        connection.cut()
        assert "it does not answer: check the network and --context; trying again" in out.readline()
        objects.status(PLURAL, "standup", phase="Succeeded", conditions={"Complete": ("True", "Published", "")})
        connection.restore()
        assert out.read() == "transcriptionjob/standup succeeded\n"
        assert finish(process) == (0, "")
    connection.close()
