"""Tasks, and a worker as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.tests.conftest import LOOPBACK
from steno_api.worker.task import OCRTask, Task, TranscriptionTask
from steno_api.worker.termination import TerminationMessage

Make = Callable[..., TranscriptionTask]


@pytest.fixture
def make_task(tmp_path: Path) -> Make:
    """Create a task that publishes to a directory; `changes` are fields of its wire format."""

    def make(**changes: Any) -> TranscriptionTask:
        document: dict[str, Any] = {
            "job": {"namespace": "team-a", "name": "standup", "uid": "uid-1"},
            "attempt": 1,
            "tenant": "acme",
            "meetingID": "standup-42",
            "source": {"uri": "pvc://recordings/a.wav", "path": str(tmp_path / "a.wav")},
            "output": {
                "uri": "pvc://results/team-a/standup/uid-1",
                "path": str(tmp_path / "results"),
                "formats": ["json", "srt", "vtt", "txt"],
            },
            "model": {"name": "whisper-base"},
            "modelStore": os.path.expandvars(f"{os.environ.get('XDG_CACHE_HOME', '$HOME/.cache')}/steno/models"),
            "scratchDir": str(tmp_path / "scratch"),
            "terminationMessagePath": str(tmp_path / "termination-log"),
            "egress": LOOPBACK.to_wire(),
        }
        return TranscriptionTask.model_validate(document | changes)

    return make


@pytest.fixture
def make_ocr_task(make_task: Make) -> Callable[..., OCRTask]:
    """Create an OCR task that publishes to a directory; `changes` are fields of its wire format."""

    def make(**changes: Any) -> OCRTask:
        document = make_task().to_wire() | {"kind": "OCRTask", "documentID": "contract-7"}
        document["output"]["formats"] = ["json", "txt", "markdown", "pdf"]
        return OCRTask.model_validate(document | changes)

    return make


@dataclass
class Ended:
    """A worker that has ended."""

    code: int
    log: str
    message: bytes
    seconds: float

    @property
    def result(self) -> Any:
        return TerminationMessage.model_validate_json(self.message).result

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]


class Worker:
    """A worker process."""

    def __init__(self, task: Task, log: Path) -> None:
        self._task = task
        self._log = log
        self._started = time.monotonic()
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "steno_runtime.worker", "--task", task.to_json()],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def ended(self, timeout: float = 60) -> Ended:
        code = self.process.wait(timeout)
        seconds = time.monotonic() - self._started
        written = Path(self._task.termination_message_path)
        return Ended(code, self._log.read_text(), written.read_bytes() if written.exists() else b"", seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Task], Worker]]:
    started: list[Worker] = []

    def begin(task: Task) -> Worker:
        started.append(Worker(task, tmp_path / f"worker-{len(started)}.log"))
        return started[-1]

    yield begin
    for worker in started:
        worker.process.kill()
        worker.process.wait()
