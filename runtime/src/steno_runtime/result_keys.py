"""Client of the operator's result keys: asks until it has them, once for each resource that is worked on."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.worker.result_keys import RESULT_KEY_PATH, ResultKeyRequest, ResultKeys
from steno_api.worker.task import TaskReporting
from steno_runtime.errors import Check, WorkError
from steno_runtime.operator_client import OperatorClient

WAIT_SECONDS = 60.0
"""In all, for an operator that is away: longer than another replica takes to lead."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
"""Before the operator is asked again; doubled each time."""
_NOT_FOUND = 404
_UNAVAILABLE = (
    "The operator does not say how results of this job are proven, without which those that are at {} cannot be "
    "believed. Check that workers reach it; the worker's log says what they got."
)


class ResultKeyClient:
    """Returns the keys of one resource; what it got is kept."""

    def __init__(
        self,
        reporting: TaskReporting | None,
        resource: ObjectRef,
        *,
        where: str,
        pool: ObjectRef | None = None,
        check: Check = lambda: None,
        wait_seconds: float = WAIT_SECONDS,
        known: Sequence[bytes] = (),
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            reporting: where the operator is; None: there is none, and no keys.
            resource: the job or session.
            where: its results are, for messages.
            pool: whose server this is; None: it is the worker of a job.
            check: raises `Stopped` once this was asked to stop.
            wait_seconds: for an operator that does not answer, in all.
            known: the keys, if the operator has named them already; it is not asked then.
        """
        self._reporting = reporting
        self._request = ResultKeyRequest(resource=resource, pool=pool)
        self._where = where
        self._check = check
        self._wait_seconds = wait_seconds
        self._until: float | None = None
        self._keys: Sequence[bytes] | None = known if known or reporting is None else None

    def __call__(self) -> Sequence[bytes]:
        """Return the keys; none where the operator does not know of such keys.

        Raises:
            WorkError: `OutputUnavailable`: the operator did not say in time.
            Stopped: this was asked to stop.
        """
        if self._keys is None and self._reporting is not None:
            self._keys = self._ask(self._reporting)
        if self._keys is None:
            raise WorkError(FailureReason.OUTPUT_UNAVAILABLE, _UNAVAILABLE.format(self._where))
        return self._keys

    def _ask(self, reporting: TaskReporting) -> Sequence[bytes] | None:
        if self._until is None:
            self._until = time.monotonic() + self._wait_seconds
        client, pause = OperatorClient(reporting, RESULT_KEY_PATH), FIRST_PAUSE_SECONDS
        try:
            while True:
                status, answer = client.ask(self._request, ResultKeys)
                if answer is not None:
                    return [bytes.fromhex(key) for key in answer.keys]
                if status == _NOT_FOUND:
                    return ()
                if time.monotonic() + pause > self._until:
                    return None
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            client.close()

    def _pause(self, seconds: float) -> None:
        until, never = time.monotonic() + seconds, threading.Event()
        while (left := until - time.monotonic()) > 0:
            self._check()
            never.wait(min(left, FIRST_PAUSE_SECONDS))
