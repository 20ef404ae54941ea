"""Reports of running workers, and where they are sent: progress of a pod, and attempts of a pool's queue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from steno_api.model import Model, ObjectRef
from steno_api.usage import ProcessID
from steno_api.v1alpha1.job import Progress
from steno_api.worker.result_keys import MAX_RESULT_KEYS, ResultKey
from steno_api.worker.termination import TerminationMessage

REPORT_AUDIENCE = "steno-operator"
"""Audience of the projected ServiceAccount token that authenticates reports."""

REPORT_PATH = "/v1/reports"
"""Path of the operator's endpoint that workers POST `Report` to."""


class Report(Model):
    """One progress report, POSTed as JSON to the operator's `REPORT_PATH`."""

    job: ObjectRef
    attempt: int = Field(ge=1)
    progress: Progress


ATTEMPT_REPORT_PATH = "/v1/attempts/reports"
"""Path of the operator's endpoint that workers of a pool POST `AttemptReport` to; the answer is an `AttemptAnswer`."""


class AttemptReport(Model):
    """State of an attempt that came from a queue; the first one, without progress, asks whether it is still wanted."""

    pool: ObjectRef
    """The RuntimePool whose queue it came from."""
    job: ObjectRef
    kind: Literal["TranscriptionTask", "OCRTask"]
    """Of the task, and thus of the job."""
    attempt: int = Field(ge=1)
    process: ProcessID
    """This delivery of the message, whose figures of `ended.used` begin at zero."""
    progress: Progress | None = None
    ended: TerminationMessage | None = None
    """Present once the work has ended; repeated until the answer says that it is recorded. Without a `result`, the
    worker gave the message back and says only what it has done: somebody else goes on with the attempt."""


class AttemptAnswer(Model):
    """The operator's answer to an `AttemptReport`."""

    wanted: bool = True
    """False: the job is deleted, cancelled, or at another attempt; the worker stops and forgets the message."""
    recorded: bool = False
    """The end of the attempt is in the job's status: the worker may forget the message."""
    keys: Annotated[list[ResultKey], Field(max_length=MAX_RESULT_KEYS)] = Field(default_factory=list[str])
    """To the first report, if it is wanted: the keys of the job, one of which has made the proof of its message. An
    operator that does not prove messages names none."""
