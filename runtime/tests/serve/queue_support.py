"""An operator that answers reports of attempts, for workers of a pool's queue."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runtime.tests.conftest import reply
from steno_api.server.reports import PoolReport
from steno_api.worker.report import ATTEMPT_REPORT_PATH, AttemptReport
from steno_api.worker.result_keys import RESULT_KEY_PATH

SECONDS = 240.0
"""For anything here: two servers with models start on a busy machine."""


class Operator:
    """Answers reports as the operator does: an end is recorded once the job's status has it, so not at once.

    Attributes:
        reports: all of them.
        keys: of every job.
        unwanted: UIDs of jobs that were deleted.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self.reports: list[AttemptReport] = []
        self.keys = [key.hex() for key in keys]
        self.unwanted: set[str] = set()
        self._changed = threading.Condition()
        operator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                reply(200, json.dumps(operator._answer(self.path, body)).encode())(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == RESULT_KEY_PATH:
            return {"keys": self.keys}
        if path == ATTEMPT_REPORT_PATH:
            return self._take(body)
        return {"known": [each.session.uid for each in PoolReport.model_validate_json(body).sessions], "end": []}

    def _take(self, body: bytes) -> dict[str, Any]:
        report = AttemptReport.model_validate_json(body)
        with self._changed:
            before = (report.job.uid, report.process) in {(it.job.uid, it.process) for it in self.ends()}
            self.reports.append(report)
            self._changed.notify_all()
        wanted = report.job.uid not in self.unwanted
        return {"wanted": wanted, "recorded": report.ended is not None and before, "keys": self.keys}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ends(self) -> list[AttemptReport]:
        """Return the reports of ends."""
        return [report for report in self.reports if report.ended is not None]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds of the reports."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(holds, SECONDS)

        assert await asyncio.to_thread(wait), self.reports
