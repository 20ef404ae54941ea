"""The arms of `bench.operator_load`: bare Jobs, Steno's operator, a tutorial's operator. All create the same Jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import tutorial_operator as tutorial
from steno_api.documents.manifest import OCRSummary, PublishedArtifact, TranscriptionSummary
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.termination import Succeeded, TerminationMessage
from steno_operator.manifests.job import build_job
from steno_operator.manifests.task import Attempt
from tests.support.nodes import GPU

KINDS: tuple[type[TranscriptionJob | OCRJob], ...] = (TranscriptionJob, OCRJob)
JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
STENO = "/apis/steno.dev/v1alpha1"
TRANSCRIPTS = f"/apis/{tutorial.GROUP}/{tutorial.VERSION}/namespaces/{{namespace}}/{tutorial.PLURAL}"
_IMAGE = "steno/runtime:bench"
_REPORTS = "http://steno-operator.steno-system"

Object = tuple[str, dict[str, Any]]
"""The path of a collection, with `{namespace}` as a placeholder, and an object of it."""


@dataclass(frozen=True)
class Round:
    """Where an arm runs once."""

    namespace: str
    kubeconfig: Path
    """Kubeconfig of the account whose requests are counted."""
    folder: Path
    profile: Path | None = None
    """File for the cProfile statistics of Steno's operator."""


@dataclass(frozen=True)
class Arm:
    """One way to run the same Jobs."""

    name: str
    owners: tuple[str, ...]
    """The collections of what is submitted."""
    submission: Callable[[Round, int, str], Object]
    """Returns the object to submit, given the number and name of a job."""
    complete: Callable[[Mapping[str, Any]], bool]
    """Whether a submitted object is complete."""
    command: Callable[[Round], tuple[list[str], dict[str, str]]] | None = None
    """The operator's command and environment."""
    needs: Callable[[Round], list[Object]] = lambda _: []
    """Returns the objects that must exist first."""


MANIFEST = (
    "s3://results/{{ $.metadata.namespace }}/{{ index $.metadata.labels `steno.dev/job` }}"
    "/{{ index $.metadata.labels `steno.dev/job-uid` }}/manifest.json"
)
"""In the result directory of a pod's resource, as a template of kwok's."""


def termination_messages() -> dict[str, str]:
    """Return the termination message of a successful worker, by kind."""
    speech = TranscriptionSummary(duration=30, language="en", segments=5, processing_seconds=3, speed=10, model="base")
    pages = OCRSummary(
        pages=3, failed_pages=0, characters=900, confidence=0.9, engines={"tesseract": 3},
        processing_seconds=6, pages_per_second=0.5,
    )  # fmt: skip
    artifact = PublishedArtifact(format="json", name="result.json", sha256="0" * 64, bytes=12)
    return {
        model.definition.kind: TerminationMessage(
            result=Succeeded(manifest=MANIFEST, artifacts=[artifact], summary=summary)
        ).to_json()
        for model, summary in zip(KINDS, (speech, pages), strict=True)
    }


def arms() -> list[Arm]:
    """Return all arms."""
    return [
        Arm("bare", (JOBS,), _bare, _condition_complete),
        Arm(
            "steno",
            tuple(f"{STENO}/namespaces/{{namespace}}/{model.definition.plural}" for model in KINDS),
            _custom_resource,
            _condition_complete,
            _steno_command,
            lambda where: [(f"{STENO}/runtimeprofiles", _profile(where))],
        ),
        Arm("tutorial", (TRANSCRIPTS,), _transcript, _phase_complete, _tutorial_command),
    ]


def _condition_complete(raw: Mapping[str, Any]) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)


def _phase_complete(raw: Mapping[str, Any]) -> bool:
    return (raw.get("status") or {}).get("phase") == "Complete"


def _custom_resource(where: Round, number: int, name: str) -> Object:
    definition = KINDS[number % 2].definition
    spec = {
        "source": {"uri": "s3://inputs/one.pdf"},
        "output": {"uri": "s3://results"},
        "profileRef": {"name": where.namespace},
    }
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": definition.kind, "metadata": {"name": name}, "spec": spec}
    return f"{STENO}/namespaces/{{namespace}}/{definition.plural}", body


def _profile(where: Round) -> dict[str, Any]:
    return {
        "apiVersion": "steno.dev/v1alpha1",
        "kind": "RuntimeProfile",
        "metadata": {"name": where.namespace},
        "spec": {"accelerator": {"resource": GPU, "count": 1}},
    }


def _job(where: Round, number: int, name: str) -> dict[str, Any]:
    """Return the Job that Steno creates for that submission, without its owner."""
    _, raw = _custom_resource(where, number, name)
    raw["metadata"] |= {"namespace": where.namespace, "uid": "00000000-0000-0000-0000-000000000000"}
    resource = KINDS[number % 2].from_wire(raw)
    attempt = Attempt(
        tenant=where.namespace,
        number=1,
        out_of_memory=0,
        profile=RuntimeProfile.from_wire(_profile(where)),
        runtime_image=_IMAGE,
        report_url=_REPORTS,
        pod_labels={},
    )
    manifest = build_job(resource, attempt)
    del manifest["metadata"]["ownerReferences"]
    return manifest


def _bare(where: Round, number: int, name: str) -> Object:
    return JOBS, _job(where, number, name)


def _steno_command(where: Round) -> tuple[list[str], dict[str, str]]:
    profiling = ["-m", "cProfile", "-o", str(where.profile)] if where.profile else []
    settings = {
        "STENO_RUNTIME_IMAGE": _IMAGE,
        "STENO_REPORT_URL": _REPORTS,
        "STENO_POD_NAMESPACE": where.namespace,
        "STENO_LABEL_POD": "false",
        "STENO_HOST": "127.0.0.1",
        "STENO_REPORT_PORT": "0",
        "STENO_PROBE_PORT": "0",
    }
    return [sys.executable, *profiling, "-m", "steno_operator.app"], settings


def _transcript(_: Round, number: int, name: str) -> Object:
    body = {
        "apiVersion": f"{tutorial.GROUP}/{tutorial.VERSION}",
        "kind": "Transcript",
        "metadata": {"name": name},
        "spec": {"kind": KINDS[number % 2].definition.kind},
    }
    return TRANSCRIPTS, body


def _tutorial_command(where: Round) -> tuple[list[str], dict[str, str]]:
    templates = where.folder / "templates.json"
    jobs = {model.definition.kind: _job(where, number, "any") for number, model in enumerate(KINDS)}
    templates.write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "kopf", "run", "--all-namespaces", "-m", "bench.tutorial_operator"]
    return command, {"JOB_TEMPLATES": str(templates)}
