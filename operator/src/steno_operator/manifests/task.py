"""From a job's spec to the task of one attempt: all that differs between the kinds of jobs, for their workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steno_api.credentials import SOURCE_URI
from steno_api.model import Model, ObjectRef
from steno_api.v1alpha1.common import Output, SecretRef, Source
from steno_api.v1alpha1.job import JobSpec
from steno_api.v1alpha1.meta import ObjectMeta
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.task import (
    AnyTask,
    EgressRules,
    OCRTask,
    ShortSource,
    TaskOutput,
    TaskReporting,
    TaskSource,
    TranscriptionTask,
)
from steno_operator.manifests import paths
from steno_operator.manifests.pod_template import HF_TOKEN


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret in the job's namespace."""

    secret: str
    key: str


@dataclass(frozen=True)
class Work:
    """What a job gives its worker: the task, and secrets that libraries read from the environment."""

    task: Model
    secret_env: dict[str, SecretKey] = field(default_factory=dict[str, SecretKey])


@dataclass(frozen=True)
class Attempt:
    """What one attempt needs besides the spec."""

    number: int
    tenant: str
    """Who pays, as tasks, labels and documents say it."""
    out_of_memory: int
    """Earlier attempts that ran out of memory; each halves the batch."""
    profile: RuntimeProfile
    runtime_image: str
    """Image of profiles that name none."""
    report_url: str
    pod_labels: dict[str, str]
    """The operator's own additions to every worker pod."""
    report_ca: str | None = None
    """CA certificates (PEM) of an `https://` report URL."""
    egress: EgressRules = field(default_factory=EgressRules)
    """Networks that sources and outputs may be on."""
    deadline_limit: int | None = None
    """The longest deadline that the Tenant allows, in seconds; None: any."""


def job_ref(metadata: ObjectMeta) -> ObjectRef:
    """Return the identity of a job as workers, reports and manifests carry it."""
    return ObjectRef(namespace=metadata.namespace or "default", name=metadata.name, uid=metadata.uid)


def build_work(job: TranscriptionJob | OCRJob, attempt: Attempt) -> Work:
    """Return the task of an attempt of a job of any kind, and the secrets that its libraries read."""
    if isinstance(job, OCRJob):
        return Work(build_ocr_task(job, attempt))
    token = None if job.spec.diarization is None else job.spec.diarization.token_secret_ref
    secrets = {} if token is None else {HF_TOKEN: SecretKey(token.name, HF_TOKEN)}
    return Work(build_transcription_task(job, attempt), secrets)


def build_transcription_task(job: TranscriptionJob, attempt: Attempt) -> TranscriptionTask:
    """Return the task of an attempt. It holds no secret: credentials are directories of mounted files."""
    spec = job.spec
    return TranscriptionTask(
        **_common(job.metadata, spec, spec.output.formats, attempt),
        meetingID=spec.meeting_id or job.metadata.name,
        model=spec.model,
        language=spec.language,
        languages=spec.languages,
        translate=spec.translate,
        audio=spec.audio,
        diarization=spec.diarization,
    )


def build_ocr_task(job: OCRJob, attempt: Attempt) -> OCRTask:
    """Return the task of an attempt. It holds no secret: credentials are directories of mounted files."""
    spec = job.spec
    return OCRTask(
        **_common(job.metadata, spec, spec.output.formats, attempt),
        documentID=spec.document_id or job.metadata.name,
        languages=spec.languages,
        engine=spec.engine,
        pages=spec.pages,
        mode=spec.mode,
    )


def _common(metadata: ObjectMeta, spec: JobSpec, formats: Sequence[str], attempt: Attempt) -> dict[str, Any]:
    """Return the fields of `Task`."""
    profile = attempt.profile.spec
    return {
        "job": job_ref(metadata),
        "attempt": attempt.number,
        "tenant": attempt.tenant,
        "metadata": spec.metadata,
        "source": build_source(spec.source, profile.min_source_bytes_per_second),
        "output": build_output(spec.output, metadata, [str(item) for item in dict.fromkeys(formats)]),
        "egress": attempt.egress,
        "batch_divisor": 2**attempt.out_of_memory,
        "device": "cpu" if profile.accelerator is None else "auto",
        "memory_mib": profile.accelerator.memory_mib if profile.accelerator else None,
        "model_store": paths.MODELS,
        "model_digests": {} if profile.model_store is None else profile.model_store.digests,
        "hub_downloads": profile.hub.downloads,
        "scratch_dir": paths.SCRATCH,
        "termination_message_path": paths.TERMINATION_LOG,
        "reporting": TaskReporting(
            url=attempt.report_url, ca=attempt.report_ca, token_file=f"{paths.TOKEN_DIR}/{paths.TOKEN_NAME}"
        ),
    }


def build_queued_task(job: TranscriptionJob | OCRJob, attempt: int, *, tenant: str, out_of_memory: int) -> AnyTask:
    """Return the task of an attempt in a pool, whose servers know themselves what a pod of its own would be told.

    Args:
        job: the job.
        attempt: its number.
        tenant: who pays; the pool's servers have a label of their own.
        out_of_memory: earlier attempts that ran out of memory.
    """
    blank = RuntimeProfile(metadata=ObjectMeta(name=""))
    given = Attempt(attempt, tenant, out_of_memory, blank, runtime_image="", report_url="", pod_labels={})
    task = build_ocr_task(job, given) if isinstance(job, OCRJob) else build_transcription_task(job, given)
    source, output = (
        place.model_copy(update={"credentials_dir": _credentials_in_pool(ref)})
        for place, ref in ((task.source, job.spec.source.secret_ref), (task.output, job.spec.output.secret_ref))
    )
    short = ShortSource() if job.spec.execution == "Auto" else None
    return task.model_copy(update={"source": source, "output": output, "reporting": None, "only_short": short})


def _credentials_in_pool(ref: SecretRef | None) -> str | None:
    return None if ref is None else f"{paths.QUEUE_CREDENTIALS}/{ref.name}"


def build_source(source: Source, least_rate: int) -> TaskSource:
    """Return where the worker reads, with `pvc://` resolved to the mounted file, at `least_rate` bytes a second."""
    if source.uri_secret_ref is not None:
        return TaskSource(
            uri=f"secret://{source.uri_secret_ref.name}",
            uri_file=f"{paths.SOURCE_URI}/{SOURCE_URI}",
            min_bytes_per_second=least_rate,
        )
    uri = source.uri or ""  # there is one, by the rules of the resource
    return TaskSource(
        uri=uri,
        path=None if paths.claim_of(source) is None else f"{paths.SOURCE_MOUNT}/{paths.path_in_claim(uri)}",
        endpointURL=source.endpoint_url,
        region=source.region,
        credentials_dir=None if source.secret_ref is None else paths.SOURCE_CREDENTIALS,
        min_bytes_per_second=least_rate,
    )


def build_output(output: Output, metadata: ObjectMeta, formats: list[str]) -> TaskOutput:
    """Return where the worker publishes: the job's own directory, with `pvc://` resolved to the mounted one."""
    ref = job_ref(metadata)
    uri = paths.result_directory(output, namespace=ref.namespace, name=ref.name, uid=ref.uid)
    return TaskOutput(
        uri=uri,
        path=None if paths.claim_of(output) is None else f"{paths.OUTPUT_MOUNT}/{paths.path_in_claim(uri)}",
        endpointURL=output.endpoint_url,
        region=output.region,
        credentials_dir=None if output.secret_ref is None else paths.OUTPUT_CREDENTIALS,
        formats=formats,
    )
