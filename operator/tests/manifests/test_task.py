"""From a spec to the task of one attempt."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from steno_api.v1alpha1 import OCRJob, RuntimeProfile, TranscriptionJob
from steno_api.worker.task import EgressRules, OCRTask, TranscriptionTask
from steno_operator.manifests.paths import path_in_claim
from steno_operator.manifests.task import Attempt, build_ocr_task, build_transcription_task
from steno_operator.settings import Settings


def job(**spec: Any) -> TranscriptionJob:
    return TranscriptionJob.from_wire(
        {
            "metadata": {"name": "standup", "namespace": "team-a", "uid": "uid-1"},
            "spec": {"source": {"uri": "s3://meetings/a.wav"}, "output": {"uri": "s3://transcripts/"}, **spec},
        }
    )


def task(*, out_of_memory: int = 0, number: int = 1, profile: dict[str, Any] | None = None, **spec: Any):
    return build_transcription_task(job(**spec), attempt(number, out_of_memory, profile))


def attempt(number: int = 1, out_of_memory: int = 0, profile: dict[str, Any] | None = None) -> Attempt:
    return Attempt(
        tenant="acme",
        number=number,
        out_of_memory=out_of_memory,
        profile=RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": profile or {}}),
        runtime_image="runtime:1",
        report_url="http://operator:8080",
        pod_labels={},
    )


def test_names_default_to_the_resources_own():
    made = task()
    assert (made.meeting_id, made.tenant) == ("standup", "acme")
    assert made.job.uid == "uid-1"
    made = task(meetingID="standup-42", tenantRef={"name": "other"})
    assert (made.meeting_id, made.tenant) == ("standup-42", "acme")


def test_free_text_goes_to_the_worker_as_it_is():
    text = {"tenant_id": "tenant_abc", "메모": 'a "note"\n'}
    assert task(metadata=text).metadata == text


def test_results_go_to_the_jobs_own_directory():
    assert task().output.uri == "s3://transcripts/team-a/standup/uid-1"
    assert task().output.path is None


def test_claims_become_mounted_paths():
    made = task(source={"uri": "pvc://media/a dir/b.wav"}, output={"uri": "pvc://results/2026/", "formats": ["srt"]})
    assert made.source.path == "/mnt/source/a dir/b.wav"
    assert made.output.path == "/mnt/output/2026/team-a/standup/uid-1"
    assert made.output.uri == "pvc://results/2026/team-a/standup/uid-1"
    assert task(output={"uri": "pvc://results"}).output.path == "/mnt/output/team-a/standup/uid-1"


@pytest.mark.parametrize("uri", ["pvc://media/../../etc/passwd", "pvc://media//./../etc/passwd"])
def test_a_claims_path_cannot_leave_the_claim(uri):
    assert path_in_claim(uri) == "etc/passwd"


def test_credentials_are_directories_and_never_in_the_task():
    made = task(
        source={"uri": "s3://m/a.wav", "secretRef": {"name": "in"}, "endpointURL": "http://s3:7070", "region": "x"},
        output={"uri": "s3://t", "secretRef": {"name": "out"}},
    )
    assert made.source.credentials_dir == "/etc/steno/source-credentials"
    assert made.output.credentials_dir == "/etc/steno/output-credentials"
    assert (made.source.endpoint_url, made.source.region) == ("http://s3:7070", "x")
    assert (task().source.credentials_dir, task().output.credentials_dir) == (None, None)


def test_the_settings_networks_reach_every_worker():
    given = Settings(
        runtime_image="runtime:1",
        report_url="http://operator:8080",
        denied_networks="10.0.0.0/8, fd00::/8,",
        allowed_networks="10.96.20.7",
    )
    egress = given.policy().egress
    assert egress == EgressRules(allowed_networks=["10.96.20.7"], denied_networks=["10.0.0.0/8", "fd00::/8"])
    assert task().egress == EgressRules()
    assert build_transcription_task(job(), replace(attempt(), egress=egress)).egress == egress


@pytest.mark.parametrize("name", ["allowed_networks", "denied_networks"])
def test_a_setting_that_is_no_network_is_refused_at_the_start(name):
    with pytest.raises(ValidationError, match="cluster-local"):
        Settings(runtime_image="runtime:1", report_url="http://operator:8080", **{name: "10.0.0.0/8,cluster-local"})


def test_each_attempt_out_of_memory_halves_the_batch():
    assert [task(out_of_memory=count).batch_divisor for count in range(4)] == [1, 2, 4, 8]


def test_without_an_accelerator_the_device_is_the_cpu():
    assert task(profile={}).device == "cpu"
    made = task(profile={"accelerator": {"resource": "nvidia.com/mig-1g.10gb", "memory": "9856Mi"}})
    assert (made.device, made.memory_mib) == ("auto", 9856)


def test_a_format_asked_for_twice_is_made_once():
    assert task(output={"uri": "s3://t", "formats": ["srt", "json", "srt"]}).output.formats == ["srt", "json"]


def test_the_task_survives_its_way_to_the_worker():
    made = task(diarization={"maxSpeakers": 4}, language="ko", model={"name": "base", "batchSize": 8}, number=3)
    assert TranscriptionTask.model_validate_json(made.to_json()) == made
    assert made.reporting is not None
    assert made.reporting.token_file == "/var/run/secrets/steno/token"


def test_an_ocr_jobs_task():
    assert task(languages=["ko", "en-GB"]).languages == ["ko", "en-GB"]
    assert (task().translate, task(translate=True).translate) == (False, True)
    spec = {"languages": ["ko"], "engine": "Tesseract", "pages": "2-", "mode": "Force", "documentID": "contract-7"}
    where = {"source": {"uri": "pvc://scans/a.pdf"}, "output": {"uri": "s3://t", "formats": ["pdf", "json", "pdf"]}}
    owner = OCRJob.from_wire({"metadata": job().metadata, "spec": {**where, **spec}})
    made = build_ocr_task(owner, attempt(number=2, out_of_memory=1, profile={"accelerator": {}}))
    assert (made.document_id, made.tenant, made.attempt, made.batch_divisor) == ("contract-7", "acme", 2, 2)
    assert (made.languages, made.engine, made.pages, made.mode) == (["ko"], "Tesseract", "2-", "Force")
    assert (made.source.path, made.output.formats) == ("/mnt/source/a.pdf", ["pdf", "json"])
    assert made.output.uri == "s3://t/team-a/standup/uid-1"
    assert OCRTask.model_validate_json(made.to_json()) == made
