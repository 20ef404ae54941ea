"""What differs from one kind of job to another; everything else about a job's life is the same.

Separate because what differs between the kinds of jobs is in one place.
"""

from __future__ import annotations

from typing import Any, Protocol

from steno_api.documents.manifest import AnySummary, OCRSummary, TranscriptionSummary
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.termination import Succeeded
from steno_operator.manifests.job import SecretKey, Work
from steno_operator.manifests.task import Attempt, build_ocr_task, build_transcription_task
from steno_operator.plan.job.observed import Job

HF_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable and of a Secret's key


class JobKind(Protocol):
    """A kind of job, as the planner needs it."""

    def work(self, job: Any, attempt: Attempt) -> Work:
        """Return the task of an attempt of a job of this kind, and the secrets its libraries read."""
        ...

    def summary(self, result: Succeeded) -> AnySummary | None:
        """Return the summary of a result; None if an image of the profile's own wrote another kind's."""
        ...


class _Transcription:
    def work(self, job: TranscriptionJob, attempt: Attempt) -> Work:
        token = None if job.spec.diarization is None else job.spec.diarization.token_secret_ref
        return Work(
            task=build_transcription_task(job, attempt),
            secret_env={} if token is None else {HF_TOKEN: SecretKey(token.name, HF_TOKEN)},
        )

    def summary(self, result: Succeeded) -> AnySummary | None:
        return result.summary if isinstance(result.summary, TranscriptionSummary) else None


class _OCR:
    def work(self, job: OCRJob, attempt: Attempt) -> Work:
        return Work(task=build_ocr_task(job, attempt))

    def summary(self, result: Succeeded) -> AnySummary | None:
        return result.summary if isinstance(result.summary, OCRSummary) else None


_KINDS: dict[str, JobKind] = {"TranscriptionJob": _Transcription(), "OCRJob": _OCR()}


def kind_of(job: Job) -> JobKind:
    """Return the kind of a job."""
    return _KINDS[job.kind]
