"""Progress reporter: a thread that posts the latest progress; it never slows, fails or outlives the work."""

from __future__ import annotations

import threading
import time

from steno_api.v1alpha1.job import Progress
from steno_api.worker.report import REPORT_PATH, Report
from steno_api.worker.task import Task, TaskReporting
from steno_runtime.operator_client import OperatorClient

HEARTBEAT_INTERVALS = 6
"""Without a change, a report is repeated after this many intervals, for an operator that has just started."""


class Reporter:
    """Posts the latest progress from a background thread: a new stage at once, else at most once an interval."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._changed = threading.Condition()
        self._latest: Progress | None = None
        self._urgent = False
        self._closed = False
        if task.reporting is not None:
            threading.Thread(target=self._run, args=(task.reporting,), name="reporter", daemon=True).start()

    def publish(self, progress: Progress) -> None:
        """Make `progress` the latest; return immediately."""
        with self._changed:
            if self._latest is None or self._latest.stage is not progress.stage:
                self._urgent = True
                self._changed.notify()
            self._latest = progress

    def close(self) -> None:
        """End reporting, without waiting for a report that is being sent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self, reporting: TaskReporting) -> None:
        client = OperatorClient(reporting, REPORT_PATH)
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
            if latest is None or not _is_due(latest, sent, (time.monotonic() - sent_at) / interval):
                continue
            client.post(Report(job=self._task.job, attempt=self._task.attempt, progress=latest))
            sent, sent_at = latest, time.monotonic()


def _is_due(latest: Progress, sent: Progress | None, intervals: float) -> bool:
    """Return whether a report is to be sent.

    Args:
        latest: the progress that it would have.
        sent: the progress of the previous report; None: there was none.
        intervals: since the previous report.
    """
    if sent is None or latest.stage is not sent.stage:
        return True
    # A little less than one: the wait that led here may have ended a moment early.
    return intervals >= (0.9 if latest != sent else HEARTBEAT_INTERVALS)
