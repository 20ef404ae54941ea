"""The worker as a process: how it fails, stops and finds finished work, without a model."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime

import pytest

from steno_api.documents.manifest import Manifest, PublishedArtifact, TranscriptionSummary
from steno_api.failures import FailureReason
from steno_api.worker.report import Report
from steno_api.worker.termination import Succeeded
from steno_runtime.storage.volume import VolumeOutput

GAVE_UP = "did not stop in time"


def http(uri: str) -> dict[str, str]:
    return {"uri": uri}


def no_traceback(ended) -> None:
    assert b"Traceback" not in ended.message
    assert all({"time", "level", "message", "resource", "attempt"} <= set(entry) for entry in ended.entries)


def test_a_missing_source_ends_within_seconds_and_costs_no_import_of_torch(make_task, web):
    task = make_task(source=http(f"{web.url}/none.wav"))
    script = textwrap.dedent("""
        import sys, time
        from steno_runtime.worker.main import execute
        code = execute(sys.argv[1])
        heavy = {"torch", "whisperx", "ctranslate2", "transformers", "cv2", "tesserocr", "ocrmypdf"}
        assert not heavy & set(sys.modules)
        print(code, time.process_time())
    """)
    done = subprocess.run([sys.executable, "-c", script, task.to_json()], check=True, capture_output=True, text=True)
    code, seconds = done.stdout.split()
    assert code == "64"
    assert float(seconds) < 2  # of CPU time, which does not depend on who else is at work


@pytest.mark.parametrize(
    ("status", "reason"), [(404, FailureReason.SOURCE_NOT_FOUND), (403, FailureReason.SOURCE_FORBIDDEN)]
)
def test_a_source_that_is_refused(make_task, web, start, status, reason):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    web.routes["/a.wav"] = answer
    ended = start(make_task(source=http(f"{web.url}/a.wav?token=sesame"))).ended()
    assert (ended.code, ended.result.reason) == (64, reason)
    assert "sesame" not in ended.log + ended.message.decode()
    no_traceback(ended)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", "empty"), (b"just some text\n" * 100, "plain text"), (bytes(range(256)) * 99, "damaged")],
)
def test_a_source_that_is_not_a_recording(make_task, start, tmp_path, data, expected):
    (tmp_path / "a.wav").write_bytes(data)
    ended = start(make_task()).ended()
    assert (ended.code, ended.result.reason) == (64, FailureReason.UNSUPPORTED_MEDIA)
    assert expected in ended.result.message
    no_traceback(ended)
    assert not list((tmp_path / "results").iterdir())


def test_a_missing_output_bucket_ends_before_the_source_is_touched(make_task, web, start, s3, tmp_path):
    output = {
        "uri": "s3://no-such-bucket/a/b/uid-1",
        "endpointURL": s3.endpoint,
        "credentialsDir": s3.credentials(tmp_path / "secret"),
        "formats": ["json"],
    }
    ended = start(make_task(source=http(web.serve("/a.wav", b"x")), output=output)).ended()
    assert (ended.code, ended.result.reason) == (64, FailureReason.OUTPUT_NOT_FOUND)
    assert web.requests == []
    assert s3.secret_key not in ended.log
    no_traceback(ended)


def test_an_unknown_format(make_task, start):
    ended = start(make_task(output={"uri": "pvc://r", "path": "/nowhere", "formats": ["docx"]})).ended()
    assert (ended.code, ended.result.reason) == (64, FailureReason.INVALID_SPEC)
    assert "docx" in ended.result.message


def test_finished_work_is_found_and_not_repeated(make_task, web, start, tmp_path):
    task = make_task(attempt=2, source=http(web.serve("/a.wav", b"x")))
    artifact = PublishedArtifact(format="json", name="transcript.json", sha256=hashlib.sha256(b"").hexdigest(), bytes=0)
    summary = TranscriptionSummary(
        duration=30, language="en", segments=1, processing_seconds=2, speed=15, model="whisper-base"
    )
    manifest = Manifest(
        job=task.job, attempt=1, tenant="acme", created_at=datetime.now(UTC), source_uri="x", artifacts=[artifact],
        summary=summary,
    )  # fmt: skip
    VolumeOutput("", tmp_path / "results").create("manifest.json", manifest.to_json().encode(), "")
    ended = start(task).ended()
    assert ended.code == 0
    assert ended.result == Succeeded(
        manifest="pvc://results/team-a/standup/uid-1/manifest.json", artifacts=[artifact], summary=summary
    )
    assert web.requests == []


def test_a_task_of_an_unknown_kind():
    done = subprocess.run(
        [sys.executable, "-m", "steno_runtime.worker", "--task", '{"kind": "OtherTask"}'],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 64
    assert "Traceback" not in done.stderr


def test_a_defect_is_reported_without_its_text(make_task, start, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "scratch").write_bytes(b"a file where a directory should be")
    ended = start(make_task(source=http("http://127.0.0.1:9/a.wav"))).ended()
    assert (ended.code, ended.result.reason) == (70, FailureReason.INTERNAL)
    assert "FileExistsError" in ended.result.message
    assert str(tmp_path) not in ended.result.message
    assert any("FileExistsError" in entry.get("exception", "") for entry in ended.entries)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_while_fetching_ends_at_once(make_task, web, start, tmp_path, number):
    asked, released = threading.Event(), threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        asked.set()
        while not released.wait(0.01):
            handler.wfile.write(bytes(1024 * 1024))

    web.routes["/a.wav"] = drip
    worker = start(make_task(source=http(f"{web.url}/a.wav")))
    assert asked.wait(30)
    worker.process.send_signal(number)
    ended = worker.ended()
    released.set()
    assert (ended.code, ended.result.reason) == (143, FailureReason.PREEMPTED)
    assert GAVE_UP not in ended.log
    no_traceback(ended)
    assert not list((tmp_path / "results").iterdir())


def test_sigterm_while_a_library_never_comes_back(make_task, web, start):
    asked, released = threading.Event(), threading.Event()

    def hang(handler):
        asked.set()
        released.wait(60)

    web.routes["/a.wav"] = hang
    worker = start(make_task(source=http(f"{web.url}/a.wav")))
    assert asked.wait(30)
    worker.process.send_signal(signal.SIGTERM)
    ended = worker.ended()
    released.set()
    assert (ended.code, ended.result.reason) == (143, FailureReason.PREEMPTED)
    assert GAVE_UP in ended.log


def test_a_stop_waits_for_what_is_shielded_and_for_nothing_else():
    script = textwrap.dedent("""
        import os, signal, sys
        from steno_runtime.errors import Stopped
        from steno_runtime.worker.signals import StopSignal
        stop = StopSignal(on_timeout=lambda: print("timeout", flush=True))
        stop.install()
        stop.check()
        with stop.shield():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop._requested.wait(10)
            stop.check()
            print("finished", flush=True)
        try:
            stop.check()
        except Stopped:
            print("stopped", flush=True)
        signal.sigwait({signal.SIGUSR1})
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=30)
    assert done.stdout.split("\n") == ["finished", "stopped", "timeout", ""]
    assert done.returncode == 143


def test_progress_is_reported_with_its_stages(make_task, web, start, tmp_path):
    (tmp_path / "token").write_text("tok")
    web.serve("/v1/reports", b"")
    web.serve("/a.wav", b"text, no audio\n" * 100)
    reporting = {"url": web.url, "tokenFile": str(tmp_path / "token"), "intervalSeconds": 0.1}
    ended = start(make_task(source=http(f"{web.url}/a.wav"), reporting=reporting)).ended()
    assert ended.code == 64
    reports = [Report.model_validate_json(body) for body in web.bodies_of("/v1/reports")]
    assert reports
    assert all(report.attempt == 1 and report.job.uid == "uid-1" for report in reports)
