"""Builders for tests: jobs, children and pods in a given state, and workers' termination messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from steno_api.documents.manifest import OCRSummary, PublishedArtifact, TranscriptionSummary
from steno_api.failures import EXIT_CODES, FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.termination import Failed, Succeeded, TerminationMessage
from steno_operator.plan.common.plan import EmitEvent, Plan
from steno_operator.plan.common.pods import ObservedPod
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import Job, ObservedChild, ObservedJob
from steno_operator.plan.job.planner import plan_job

T0 = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
POLICY = Policy(runtime_image="runtime:1", report_url="http://steno-operator.steno-system.svc:8080")
PROFILE = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"accelerator": {}}})
DIRECTORY = "s3://transcripts/team-a/standup/uid-1"

SUMMARY = TranscriptionSummary(
    duration=60.0, language="en", segments=3, speakers=2, processing_seconds=6.0, speed=10.0, model="base"
)
RESULT = Succeeded(
    manifest=f"{DIRECTORY}/manifest.json",
    artifacts=[PublishedArtifact(format="json", name="transcript.json", sha256="ab", bytes=10)],
    summary=SUMMARY,
)
SUCCESS = TerminationMessage(result=RESULT).to_json()
OCR_SUMMARY = OCRSummary(
    pages=3,
    failed_pages=1,
    characters=900,
    confidence=0.9,
    engines={"tesseract": 2},
    processing_seconds=6.0,
    pages_per_second=0.5,
)
OCR_RESULT = Succeeded(
    manifest=f"{DIRECTORY}/manifest.json",
    artifacts=[PublishedArtifact(format="json", name="pages.json", sha256="cd", bytes=20)],
    summary=OCR_SUMMARY,
)
SUCCESSES = {"TranscriptionJob": SUCCESS, "OCRJob": TerminationMessage(result=OCR_RESULT).to_json()}
"""The termination message of a worker that published, by kind."""


WHERE = {"source": {"uri": "s3://meetings/a.wav"}, "output": {"uri": "s3://transcripts"}}


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def failure_message(reason: FailureReason, message: str = "It broke.", used: Work | None = None) -> str:
    return TerminationMessage(result=Failed(reason=reason, message=message), used=used).to_json()


def make_job(**spec: Any) -> TranscriptionJob:
    return TranscriptionJob.from_wire(
        {
            "metadata": {"name": "standup", "namespace": "team-a", "uid": "uid-1", "generation": 1},
            "spec": {**WHERE, **spec},
        }
    )


def make_ocr_job(**spec: Any) -> OCRJob:
    return OCRJob.from_wire({"metadata": make_job().metadata, "spec": {**WHERE, **spec}})


def make_pod(name: str = "standup-1-abcde", **fields: Any) -> ObservedPod:
    return ObservedPod(name=name, uid=f"pod-{name}", child_uid="child-1", created=T0, **fields)


def make_running_pod(name: str = "standup-1-abcde", **fields: Any) -> ObservedPod:
    return make_pod(name, phase="Running", node="node-1", started=True, **fields)


def make_ended_pod(exit_code: int, message: str = "", **fields: Any) -> ObservedPod:
    phase = "Failed" if exit_code else "Succeeded"
    return replace(
        make_running_pod(**fields), phase=phase, exit_code=exit_code, termination_message=message, finished=after(60)
    )


def make_child(*pods: ObservedPod, attempt: int = 1, **fields: Any) -> ObservedChild:
    return ObservedChild(
        name=f"standup-{attempt}", uid=f"child-{attempt}", attempt=attempt, created=T0, pods=pods, **fields
    )


def make_failed_child(reason: FailureReason, *, attempt: int = 1, seconds: float = 60) -> ObservedChild:
    worker = make_ended_pod(EXIT_CODES[reason.failure_class], failure_message(reason))
    return make_child(
        worker, attempt=attempt, failed=True, failure_reason="BackoffLimitExceeded", finished=after(seconds)
    )


class JobHarness:
    """One job that is reconciled again and again; the status is carried over as the API server would keep it."""

    def __init__(self, start: Job | None = None, **spec: Any) -> None:
        self.job: Job = start or make_job(**spec)
        self.profile: RuntimeProfile | None = PROFILE

    def reconcile(self, *children: ObservedChild, at: float = 0, **seen: Any) -> Plan:
        observed = ObservedJob(self.job, seen.pop("profile", self.profile), tuple(children), **seen)
        plan = plan_job(observed, after(at), POLICY)
        self.keep(plan)
        return plan

    def keep(self, plan: Plan) -> None:
        status = type(self.job.status).model_validate_json(plan.status.to_json())
        assert status == plan.status, "the status must survive JSON"
        self.job = self.job.model_copy(update={"status": status})

    def edit(self, **spec: Any) -> None:
        metadata = self.job.metadata.model_copy(update={"generation": self.job.metadata.generation + 1})
        self.job = self.job.model_copy(update={"spec": self.job.spec.model_copy(update=spec), "metadata": metadata})

    @property
    def status(self) -> Any:
        return self.job.status

    def condition(self, kind: str) -> Condition:
        return next(item for item in self.status.conditions if item.type == kind)

    def truths(self) -> set[str]:
        return {item.type for item in self.status.conditions if item.status == "True"}


def actions_of(plan: Plan) -> list[Any]:
    return [action for action in plan.actions if not isinstance(action, EmitEvent)]


def event_reasons(plan: Plan) -> list[str]:
    return [action.reason for action in plan.actions if isinstance(action, EmitEvent)]
