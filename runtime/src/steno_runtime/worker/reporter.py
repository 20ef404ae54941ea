"""Tells the operator how far the work is. Best effort: nothing here slows, fails or outlives the work."""

from __future__ import annotations

import logging
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from steno_api.v1alpha1.job import Progress
from steno_api.worker.report import REPORT_PATH, Report
from steno_api.worker.task import Task, TaskReporting

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
HEARTBEAT_INTERVALS = 6
"""Without news, a report is repeated after so many intervals: an operator that has just started knows nothing."""


class Reporter:
    """A background thread that posts the latest progress: at once on a new stage, else at most once an interval."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._changed = threading.Condition()
        self._latest: Progress | None = None
        self._urgent = False
        self._closed = False
        self._complaint = ""
        if task.reporting is not None:
            threading.Thread(target=self._run, args=(task.reporting,), name="reporter", daemon=True).start()

    def publish(self, progress: Progress) -> None:
        """Makes `progress` the latest; returns at once."""
        with self._changed:
            if self._latest is None or self._latest.stage is not progress.stage:
                self._urgent = True
                self._changed.notify()
            self._latest = progress

    def close(self) -> None:
        """Ends reporting; a report under way is left to itself."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self, reporting: TaskReporting) -> None:
        # A proxy of the environment is meant for sources outside, never for the operator beside us.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        interval = max(0.1, reporting.interval_seconds)
        sent: Progress | None = None
        sent_at = float("-inf")
        while True:
            with self._changed:
                if not self._closed and not self._urgent:
                    self._changed.wait(interval)
                if self._closed:
                    return
                latest, self._urgent = self._latest, False
            if latest is None or not _due(latest, sent, (time.monotonic() - sent_at) / interval):
                continue
            self._post(opener, reporting, latest)
            sent, sent_at = latest, time.monotonic()

    def _post(self, opener: urllib.request.OpenerDirector, reporting: TaskReporting, progress: Progress) -> None:
        complaint = ""
        try:
            # The token is replaced while we run, hence read each time.
            token = Path(reporting.token_file).read_text(encoding="ascii").strip()
            report = Report(job=self._task.job, attempt=self._task.attempt, progress=progress)
            request = urllib.request.Request(  # noqa: S310  (the operator's own URL, from the task)
                reporting.url.rstrip("/") + REPORT_PATH,
                data=report.to_json().encode(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                method="POST",
            )
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                response.read(1024)
        except urllib.error.HTTPError as error:
            complaint = f"the operator answered {error.code}"
            error.close()
        except Exception as error:  # noqa: BLE001  (a lost report costs progress, nothing else)
            complaint = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
        if complaint and complaint != self._complaint:
            log.warning("a report was lost", extra={"why": complaint})
        self._complaint = complaint


def _due(latest: Progress, sent: Progress | None, intervals: float) -> bool:
    """Tells whether `latest` is to be sent, `intervals` after `sent` was."""
    if sent is None or latest.stage is not sent.stage:
        return True
    # A little less than one: the wait that led here may have ended a moment early.
    return intervals >= (0.9 if latest != sent else HEARTBEAT_INTERVALS)
