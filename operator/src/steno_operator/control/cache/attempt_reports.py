"""What is known of messages in pools' queues, in memory: reports and dead letters of each job's latest attempt.

Kept after the job's status has it, for the work of workers that stop late. What a restart of the operator forgets comes
again: workers repeat how an attempt ended until that is recorded, and dead letters stay until they are acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from steno_api.usage import MAX_PROCESSES, Work
from steno_api.worker.termination import Failed, Succeeded, TerminationMessage
from steno_kube.object_cache import BoundedDict, Notifier, OwnerKey
from steno_operator.plan.common.usage import join
from steno_operator.plan.job.observed import ObservedMessage

_JOBS = 50_000


class Server(NamedTuple):
    """The pod of a pool's server."""

    uid: str
    name: str
    node: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    message: ObservedMessage
    server: str = ""
    """UID of the pod that works on it; empty: none is known to."""
    process: str = ""
    """Its delivery."""


class AttemptReports(Notifier[OwnerKey]):
    """The latest message of each job; notifies of the job of which something else is known."""

    def __init__(self) -> None:
        super().__init__()
        self._known: BoundedDict[OwnerKey, _Known] = BoundedDict(_JOBS)

    def get(self, owner: OwnerKey) -> ObservedMessage | None:
        """Return what is known of a job's latest message."""
        known = self._known.get(owner)
        return None if known is None else known.message

    def work(self, owner: OwnerKey) -> Mapping[str, Work]:
        """Return what workers said that they did for a job, by process."""
        message = self.get(owner)
        return {} if message is None else message.work

    def expect(self, owner: OwnerKey, attempt: int, now: datetime) -> None:
        """Note that the message of an attempt was published now; what is known of its worker counts no more."""
        message = self._of(owner, attempt, now).message
        self._known[owner] = _Known(replace(message, last_sign=now, worker=None, node=None))

    def resume(self, owner: OwnerKey, attempt: int, now: datetime, server: Server | None) -> None:
        """Wait from now on for a sign of an attempt that an earlier process published, unless one came already.

        Args:
            owner: the job.
            attempt: its latest attempt.
            now: the present.
            server: that which has it according to the job's status, if its pod works still.
        """
        message = self.get(owner)
        if message is not None and message.attempt >= attempt:
            return
        message = self._of(owner, attempt, now).message
        if server is not None:
            message = replace(message, worker=server.name, node=server.node)
        self._known[owner] = _Known(message, "" if server is None else server.uid)

    def update(self, owner: OwnerKey, attempt: int, server: Server, process: str, now: datetime) -> None:
        """Take in that a server works on an attempt; of an earlier one it says nothing new.

        Args:
            owner: the job.
            attempt: the attempt.
            server: whose worker reports.
            process: of the delivery.
            now: the present.
        """
        message = self._of(owner, attempt, now).message
        if message.attempt == attempt:
            message = replace(message, last_sign=now, worker=server.name, node=server.node)
            self._keep(owner, _Known(message, server.uid, process))

    def end(self, owner: OwnerKey, attempt: int, process: str, ended: TerminationMessage, now: datetime) -> None:
        """Take in how a worker's work on an attempt ended; without a result, it gave the message back.

        Args:
            owner: the job.
            attempt: the attempt.
            process: of the delivery.
            ended: what the worker says.
            now: the present.
        """
        known = self._of(owner, attempt, now)
        message = known.message
        if ended.used is not None:
            work = join(message.work, {process: ended.used.of_one_result()})
            message = replace(message, work=dict(sorted(work.items())[-MAX_PROCESSES:]))
        if message.attempt == attempt:
            if isinstance(ended.result, Succeeded) or (ended.result is not None and message.ended is None):
                message = replace(message, ended=ended.result, ended_at=now, last_sign=now)
            elif ended.result is None and known.process in ("", process):
                message = replace(message, worker=None, node=None, last_sign=now)
        rests = known.process in ("", process)
        self._keep(owner, _Known(message) if rests else replace(known, message=message))

    def bury(self, owner: OwnerKey, attempt: int, failed: Failed, now: datetime, *, refused: bool) -> None:
        """Take in that the message of an attempt is a dead letter.

        Args:
            owner: the job.
            attempt: the attempt.
            failed: what that means for it.
            now: the present.
            refused: whether a server refused it.
        """
        message = self._of(owner, attempt, now).message
        if message.attempt == attempt and message.ended is None:
            message = replace(message, ended=failed, ended_at=now, last_sign=now, refused=refused)
            self._keep(owner, _Known(message))

    def disconnect(self, pod_uid: str) -> None:
        """Nothing is worked on any more by a server that is gone: its messages come to others."""
        for owner in [owner for owner, known in self._known.items() if known.server == pod_uid]:
            message = self._known[owner].message
            self._keep(owner, _Known(replace(message, worker=None, node=None) if message.ended is None else message))

    def _of(self, owner: OwnerKey, attempt: int, now: datetime) -> _Known:
        """Return what is known of the job's message: that of a later attempt than `attempt`, if there is one."""
        known = self._known.get(owner)
        if known is not None and known.message.attempt >= attempt:
            return known
        return _Known(ObservedMessage(attempt, last_sign=now, work={} if known is None else known.message.work))

    def _keep(self, owner: OwnerKey, known: _Known) -> None:
        before = self._known.get(owner)
        self._known[owner] = known
        if before is None or replace(before.message, last_sign=known.message.last_sign) != known.message:
            self.notify(owner)
