"""Jobs in the gateway's terms: the kinds that clients create, and the states that they are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from steno_api.gateway.api_keys import Scope
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_gateway.access.principal import Principal

Job = TranscriptionJob | OCRJob


@dataclass(frozen=True)
class JobKind:
    """A kind of job, in the gateway's terms."""

    model: type[TranscriptionJob | OCRJob]
    prefix: str
    """Of its jobs' names."""
    scope: Scope


SPEECH = JobKind(TranscriptionJob, "stt", Scope.STT)
DOCUMENTS = JobKind(OCRJob, "ocr", Scope.OCR)
KINDS = (SPEECH, DOCUMENTS)

State = Literal["queued", "running", "succeeded", "failed"]
_STATES: Mapping[str | None, State] = {"Running": "running", "Succeeded": "succeeded", "Failed": "failed"}


def require_any(principal: Principal) -> None:
    """Check that a client may have jobs of some kind.

    Raises:
        ApiError: `ScopeMissing`.
    """
    if not principal.scopes & {kind.scope for kind in KINDS}:
        principal.require(SPEECH.scope)


def state(job: Job) -> State:
    """Return a job's state in the original engines' words."""
    return _STATES.get(job.status.phase, "queued")


def has_ended(job: Job) -> bool:
    """Return whether a job has succeeded or failed."""
    return state(job) in ("succeeded", "failed")


def failure(job: Job) -> ApiError:
    """Return why a job has no result."""
    last = job.status.last_failure
    if last is not None and has_ended(job):
        return ApiError(failure_status(last.reason), last.message)
    if has_ended(job):
        stalled = next((each for each in job.status.conditions if each.type == "Failed"), None)
        message = stalled.message if stalled else "The job failed."
        return ApiError(ErrorCode.INTERNAL, message)
    return ApiError(ErrorCode.JOB_NOT_ENDED, "The job has not ended yet.", retry_after=1)
