"""Jobs that a pool's warm server makes from its queue: once each, whatever is killed, and chosen by `Auto`."""

from __future__ import annotations

import json

import pytest

from hack.queue_server import CREDENTIALS
from hack.queue_server import SECRET as QUEUE_SECRET
from tests.e2e import media
from tests.e2e.kube import BASE, GROUP, PLURAL, SECRET, VERSION, Kube, Store, condition, decoding
from tests.e2e.scoring import reference_text, word_error_rate
from tests.e2e.test_gateway import curl, steno_key, url

__all__ = ["url"]  # a fixture

SOURCE = "minutes-3.wav"
POOL = "jobs"
CALLS = ("call-1", "call-2", "call-3")

pytestmark = [pytest.mark.disruptive]  # a pool beside it would take the processors that its server needs


@pytest.fixture
def pool(kube: Kube) -> Kube:
    """The namespace, with a pool that serves a queue."""
    make_pool(kube, SECRET)
    return kube


def make_pool(kube: Kube, secret: str) -> None:
    """Create the pool; its jobs may use a Secret."""
    kube.core.create_namespaced_secret(kube.namespace, {"metadata": {"name": QUEUE_SECRET}, "stringData": CREDENTIALS})
    spec = {
        "profileRef": {"name": "gpu"},
        "model": BASE,
        "workloads": ["Streams", "Queue"],
        "queue": {"secretRefs": [{"name": secret}]},
        "minReplicas": 1,
        "maxReplicas": 1,
    }
    about = {"name": POOL, "namespace": kube.namespace}
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimePool", "metadata": about, "spec": spec}
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def until_warm(kube: Kube) -> None:
    """Wait until the pool has a server with its model."""
    servers = Kube(kube.cluster, kube.namespace, plural="runtimepools")
    servers.until(POOL, lambda it: it.get("status", {}).get("readyReplicas") == 1, timeout=400, what="warm")


def create(kube: Kube, name: str, source: str = SOURCE, execution: str = "Pool") -> None:
    """Create a job that the pool makes, or may make."""
    named = {"poolRef": {"name": POOL}} if execution == "Pool" else {}
    body = kube.job(name, source, execution=execution, **named)
    del body["spec"]["profileRef"]
    kube.create(body)


def test_jobs_of_a_pool_are_published_once_although_its_server_is_killed(pool: Kube, store: Store) -> None:
    for name in CALLS:
        create(pool, name)
    pool.until(CALLS[0], decoding, timeout=400)
    pool.on_node("pkill", "-KILL", "-f", f"bin/steno-server .*{pool.namespace}")
    for name in CALLS:
        job = pool.complete(name, timeout=600)
        directory = f"{pool.namespace}/{name}/{job['metadata']['uid']}"
        assert store.results(f"{pool.namespace}/{name}/") == [
            f"{directory}/manifest.json",
            f"{directory}/transcript.json",
        ]
        assert store.transcript(job)["transcript"].lower().count("new jersey") > 9
        assert job["status"]["attempt"] == 1
        assert job["status"].get("failures", 0) == 0
        assert pool.children(name) == []


def test_a_job_that_is_deleted_leaves_the_pool_to_the_next(pool: Kube, store: Store) -> None:
    create(pool, "unwanted")
    pool.until("unwanted", decoding, timeout=400)
    pool.kubectl("delete", "transcriptionjob", "unwanted")
    create(pool, "wanted")
    job = pool.complete("wanted", timeout=400)
    assert store.transcript(job)["transcript"]
    assert store.keys(f"{pool.namespace}/unwanted/") == []


def test_auto_takes_the_warm_pool_for_what_is_short(pool: Kube, store: Store) -> None:
    until_warm(pool)
    create(pool, "short", "sample.wav", "Auto")
    job = pool.complete("short")
    assert (job["status"]["execution"]["mode"], job["status"]["execution"]["pool"]) == ("Pool", POOL)
    assert pool.children("short") == []
    assert store.transcript(job)["transcript"]
    create(pool, "long", "minutes-20.wav", "Auto")
    job = pool.until(
        "long", lambda it: it.get("status", {}).get("execution", {}).get("mode") == "Job", what="handed back"
    )
    assert job["status"]["execution"]["reason"] == "NotShort"
    job = pool.until("long", decoding, what="decoding in a pod of its own")
    assert (job["status"]["attempt"], job["status"]["failures"]) == (2, 0)
    assert condition(job, "Failed")["status"] == "False"
    assert len(pool.children("long")) == 1


def test_what_the_gateway_is_sent_is_made_by_the_warm_pool(kube: Kube, url: str) -> None:
    make_pool(kube, "steno-store")
    until_warm(kube)
    key = steno_key(kube, "create", "--tenant", kube.namespace, "--for-namespace", kube.namespace)
    bearer = ("-H", f"Authorization: Bearer {key}")
    status, transcript = curl(f"{url}/stt/upload", *bearer, "-F", f"file=@{media.sample('.wav')}", "-F", "language=en")
    assert status == 200, transcript
    assert word_error_rate(reference_text(media.sample(".stm")), transcript) < 0.3
    assert set(transcript["speakers"]) >= {"SPEAKER_00", "SPEAKER_01"}
    (job,) = kube.custom.list_namespaced_custom_object(GROUP, VERSION, kube.namespace, PLURAL)["items"]
    assert (job["status"]["execution"]["mode"], job["status"]["execution"]["pool"]) == ("Pool", POOL)
    assert kube.batch.list_namespaced_job(kube.namespace).items == []
