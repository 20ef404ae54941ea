"""What people see with kubectl: columns, waits, Events, why a pod waits; and what a pod may do."""

from __future__ import annotations

import json

import pytest

from hack.deploy import NAMESPACE, helm
from tests.e2e.kube import Kube, Store, condition, is_true

OPERATOR = "app.kubernetes.io/name=steno-operator"


def operators(kube: Kube) -> set[str]:
    """Names of the operator's pods but for those on their way out."""
    pods = kube.core.list_namespaced_pod(NAMESPACE, label_selector=OPERATOR).items
    return {pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None}


def test_kubectl_tells_the_story(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "sample.wav")
    kube.kubectl("wait", "--for=condition=Complete", "transcriptionjob/call", "--timeout=180s")
    table = kube.kubectl("get", "tj", "-o", "wide")
    header, row = table.splitlines()
    for column in ("PHASE", "PROGRESS", "DURATION", "SPEED", "MODEL", "AGE"):
        assert column in header
    for value in ("Succeeded", "100", "whisper-base"):
        assert value in row
    story = kube.kubectl("describe", "tj", "call")
    at = [story.index(reason, story.index("Events:")) for reason in ("AttemptStarted", "Published")]
    assert at == sorted(at)
    assert "call" in kube.kubectl("get", "steno")


def test_the_pod_has_a_gpu_and_no_rights(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "minutes-3.wav")
    kube.until("call", lambda job: is_true(job, "Running"), what="running")
    (pod,) = kube.pods("call")
    look = "echo $NVIDIA_VISIBLE_DEVICES; id -u; touch /x 2>&1; ls /var/run/secrets"
    seen = kube.kubectl("exec", pod.metadata.name, "--", "sh", "-c", look)
    devices, user, read_only, secrets = seen.splitlines()
    assert devices.startswith("GPU-")
    assert int(user) > 0
    assert "Read-only" in read_only
    assert secrets == "steno"
    spec = pod.spec.containers[0]
    assert spec.resources.limits["nvidia.com/gpu"] == "1"
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.security_context.seccomp_profile.type == "RuntimeDefault"


def test_too_many_gpus_wait_and_say_so(kube: Kube, store: Store) -> None:
    profile = f"huge-{kube.namespace}"
    body = {
        "apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": profile},
        "spec": {"accelerator": {"resource": "nvidia.com/gpu", "count": 16}},
    }  # fmt: skip
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    try:
        kube.transcribe("call", "sample.wav", profileRef={"name": profile})
        job = kube.until("call", lambda j: j.get("status", {}).get("queue", {}).get("reason") == "Unschedulable")
        assert "nvidia.com/gpu" in job["status"]["queue"]["message"]
        assert job["status"]["phase"] == "Waiting"
    finally:
        kube.kubectl("delete", "runtimeprofile", profile)


def test_a_missing_profile_waits_until_it_exists(kube: Kube, store: Store) -> None:
    name = f"later-{kube.namespace}"
    kube.transcribe("call", "sample.wav", profileRef={"name": name})
    job = kube.until("call", lambda j: condition(j, "Accepted").get("reason") == "ProfileNotFound")
    assert name in condition(job, "Accepted")["message"]
    profile = json.loads(kube.kubectl("get", "runtimeprofile", "cpu", "-o", "json"))
    kube.kubectl("apply", "-f", "-", stdin=json.dumps({**profile, "metadata": {"name": name}}))
    try:
        kube.complete("call")
    finally:
        kube.kubectl("delete", "runtimeprofile", name)


def test_an_image_that_cannot_be_pulled(kube: Kube, store: Store) -> None:
    profile = f"noimage-{kube.namespace}"
    body = {
        "apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": profile},
        "spec": {"image": "localhost:5001/steno/no-such-image:1"},
    }  # fmt: skip
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    try:
        kube.transcribe("call", "sample.wav", profileRef={"name": profile})
        job = kube.until("call", lambda j: "Image" in j.get("status", {}).get("queue", {}).get("reason", ""))
        assert "no-such-image" in job["status"]["queue"]["message"]
    finally:
        kube.kubectl("delete", "runtimeprofile", profile)


def test_a_quota_of_the_namespace_is_named(kube: Kube, store: Store) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-gpus"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
    }  # fmt: skip
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    kube.transcribe("call", "sample.wav")
    job = kube.until("call", lambda j: j.get("status", {}).get("queue", {}).get("reason") == "PodQuotaExceeded")
    assert "no-gpus" in job["status"]["queue"]["message"]


def test_a_missing_secret_is_named(kube: Kube, store: Store) -> None:
    kube.core.delete_namespaced_secret("s3-credentials", kube.namespace)
    kube.transcribe("call", "sample.wav")
    job = kube.until("call", lambda j: "s3-credentials" in j.get("status", {}).get("queue", {}).get("message", ""))
    assert job["status"]["phase"] == "Waiting"


def test_ttl_deletes_the_children_and_keeps_the_job(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "sample.wav", ttlSecondsAfterFinished=1)
    kube.complete("call")
    kube.kubectl("wait", "--for=delete", "jobs", "-l", "steno.dev/job=call", "--timeout=60s")
    assert is_true(kube.get("call"), "Complete")
    assert store.published(kube.get("call"))


@pytest.mark.parametrize("field", [{"language": "ko"}, {"model": {"name": "large-v3"}}])
def test_the_spec_is_immutable(kube: Kube, store: Store, field: dict) -> None:
    kube.transcribe("call", "no-such-file.wav", suspend=True)
    said = kube.kubectl("patch", "tj", "call", "--type=merge", "-p", json.dumps({"spec": field}), check=False)
    assert "immutable" in said


@pytest.mark.disruptive
def test_an_upgrade_leaves_a_running_job_alone(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "minutes-3.wav")
    kube.until("call", lambda job: is_true(job, "Running"), what="running")
    (before,) = kube.pods("call")
    helm(kube.info, {"podAnnotations.upgraded": kube.namespace}, "--reuse-values")
    job = kube.complete("call", timeout=400)
    (after,) = kube.pods("call")
    assert after.metadata.uid == before.metadata.uid
    assert job["status"]["attempt"] == 1
    assert store.published(job)


@pytest.mark.disruptive
def test_the_operator_is_idle_when_nothing_happens(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "no-such-file.wav")
    version = kube.done("call")["metadata"]["resourceVersion"]
    before = operators(kube)
    operator = ("deployment", "-n", NAMESPACE, "-l", OPERATOR)
    kube.kubectl("rollout", "restart", *operator)  # ends well where nothing has that label, too
    kube.kubectl("rollout", "status", *operator, "--timeout=120s")
    after = operators(kube)
    assert before
    assert after
    assert not before & after
    kube.transcribe("after", "no-such-file.wav")
    kube.done("after")  # the restarted operator has looked at everything
    assert kube.get("call")["metadata"]["resourceVersion"] == version
