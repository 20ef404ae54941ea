"""Every example is what a real API server takes, with no field dropped; the demo's job is complete."""

from __future__ import annotations

import pytest
import yaml

from hack.paths import ROOT
from steno_api.credentials import CredentialScope, s3_location
from steno_api.v1alpha1 import RESOURCES, OCRJob, RuntimePool, StreamSession, TranscriptionJob
from steno_operator.plan.common.policy import Policy, QueuePolicy
from steno_operator.plan.job.message import obstacle_of
from steno_operator.plan.job.observed import ObservedJob, pool_name_of
from steno_operator.plan.session.observed import ObservedSession
from steno_operator.plan.session.readiness import evaluate_readiness
from steno_queue.settings import QueueSettings
from tests.support.apiserver import ApiServer

EXAMPLES = ROOT / "examples"
FILES = sorted(path for path in EXAMPLES.glob("*.yaml") if path.name != "kustomization.yaml")
SECRET = yaml.safe_load((EXAMPLES / "demo-secret.yaml").read_text())
MODELS = {model.definition.kind: model for model in RESOURCES}


@pytest.mark.apiserver
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_api_server_takes_it(path, apiserver: ApiServer, namespace: str):
    apiserver.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(path), namespace=namespace)


@pytest.mark.apiserver
def test_the_kustomization_is_applied_whole(apiserver: ApiServer, namespace: str):
    apiserver.kubectl("apply", "--validate=strict", "-k", str(EXAMPLES), namespace=namespace)
    jobs = apiserver.kubectl(
        "get", "steno", "-l", "app.kubernetes.io/part-of=recordings", "-o", "name", namespace=namespace
    )
    assert set(jobs.stdout.split()) == {
        "transcriptionjob.steno.dev/sample",
        "ocrjob.steno.dev/scan",
        "runtimepool.steno.dev/default",
        "runtimeprofile.steno.dev/mig-1g",
        "runtimeprofile.steno.dev/shared-gpu",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_models_read_it(path):
    for document in yaml.safe_load_all(path.read_text()):
        if model := MODELS.get(document["kind"]):
            assert model.model_validate(document).metadata.name == document["metadata"]["name"]


def test_the_full_example_names_every_field_of_the_spec():
    document = yaml.safe_load((EXAMPLES / "transcriptionjob-full.yaml").read_text())
    fields = {
        field.alias or name for name, field in TranscriptionJob.model_fields["spec"].annotation.model_fields.items()
    }
    assert set(document["spec"]) == fields - {"poolRef"}, "which needs execution: Pool: see ocrjob-pool.yaml"


@pytest.mark.parametrize("name", ["transcriptionjob", "ocrjob"])
def test_the_demos_jobs_use_its_secret(name: str):
    job = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for place in ("source", "output"):
        assert job["spec"][place]["secretRef"]["name"] == SECRET["metadata"]["name"]


def test_the_pools_job_is_one_that_the_pool_can_make():
    documents = list(yaml.safe_load_all((EXAMPLES / "ocrjob-pool.yaml").read_text()))
    pool, job = RuntimePool.model_validate(documents[0]), OCRJob.model_validate(documents[1])
    queue = QueuePolicy(QueueSettings(kind="RedisStreams", url="rediss://redis:6379/0"))
    observed = ObservedJob(job, None, pool=pool)
    assert pool_name_of(job) == pool.metadata.name
    assert obstacle_of(observed, Policy("image", "url", queue=queue)) is None


@pytest.mark.parametrize("name", ["transcriptionjob", "ocrjob", "runtimepool"])
def test_the_demos_secret_is_for_its_store(name: str):
    spec = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["spec"]
    scope = CredentialScope.parse(SECRET["stringData"])
    for place in (spec[key] for key in ("source", "output") if key in spec):
        bucket, _, key = place.get("uri", "s3://steno-demo-results").removeprefix("s3://").partition("/")
        assert not scope.refuse_object(place["endpointURL"], "us-east-1", s3_location(bucket, key))


def test_the_demos_session_publishes_with_its_pools_credentials():
    pool = RuntimePool.model_validate(yaml.safe_load((EXAMPLES / "runtimepool.yaml").read_text()))
    session = StreamSession.model_validate(yaml.safe_load((EXAMPLES / "streamsession.yaml").read_text()))
    assert session.spec.pool_ref.name == pool.metadata.name
    assert pool.spec.output.secret_ref.name == SECRET["metadata"]["name"]
    assert evaluate_readiness(ObservedSession(session, pool), Policy("image", "url")).accepted.holds
