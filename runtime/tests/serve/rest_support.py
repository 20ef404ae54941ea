"""Support for tests of REST: a fake pipeline, and checks of error answers and of the disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from steno_runtime.errors import Stopped
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult

if TYPE_CHECKING:
    from .conftest import RunningServer

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


class FakePipeline:
    """Replaces the pipeline, which is tested with real models in `test_process`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.lengths: list[int] = []
        self.options: list[TranscriptionOptions] = []
        self.stopped = 0

    def __call__(self, samples, options, *, check, **_) -> TranscriptionResult:
        self.lengths.append(len(samples))
        self.options.append(options)
        while not self.go.wait(0.02):
            try:
                check()
            except Stopped:
                self.stopped += 1
                raise
        return TranscriptionResult(
            (), options.language or "en", len(samples) / 16_000, 0.0, "cpu", options.model, False
        )


def problem(response: httpx.Response) -> tuple[int, str]:
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["title"]
    assert document["detail"].endswith((".", "…"))
    return response.status_code, document["code"]


def scratch_files(server: RunningServer) -> list[Path]:
    return [path for path in Path(server.task.scratch_dir).rglob("*") if path.is_file()]
