"""A real kube-apiserver takes what we build, under the restricted Pod Security Standard, without a warning."""

import pytest

from .test_job import build

pytestmark = pytest.mark.apiserver

PROFILES = {
    "plain": {},
    "full": {
        "accelerator": {"resource": "nvidia.com/mig-1g.10gb", "count": 2},
        "resources": {"requests": {"cpu": "500m", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
        "imagePullSecrets": ["registry"],
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
        ],
        "modelStore": {"persistentVolumeClaim": "models"},
        "env": {"HTTPS_PROXY": "http://proxy:3128"},
        "podLabels": {"cost": "7"},
        "podAnnotations": {"a": "b"},
        "podOverrides": {"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}},
    },
}
SPECS = {
    "s3": {
        "source": {"uri": "s3://m/a.wav", "secretRef": {"name": "in"}},
        "output": {"uri": "s3://t", "secretRef": {"name": "out"}},
        "diarization": {"tokenSecretRef": {"name": "hf"}},
        "activeDeadlineSeconds": 100,
    },
    "claims": {"source": {"uri": "pvc://media/a.wav"}, "output": {"uri": "pvc://media/out"}},
}


@pytest.fixture(scope="module")
def restricted(apiserver):
    name = apiserver.namespace("restricted")
    apiserver.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    apiserver.kubectl("create", "serviceaccount", "default", namespace=name)
    return name


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("spec", SPECS)
def test_the_apiserver_takes_the_job(apiserver, restricted, profile, spec):
    made = build(profile=PROFILES[profile], name="a" * 57, **SPECS[spec])
    made["metadata"]["namespace"] = restricted
    path = f"/apis/batch/v1/namespaces/{restricted}/jobs?dryRun=All&fieldValidation=Strict"
    answer = apiserver.request("POST", path, made)
    assert answer.status == 201, answer.message
    assert answer.warnings == ()
    [sent], [kept] = (job["spec"]["template"]["spec"]["containers"] for job in (made, answer.body))
    assert kept | sent == kept, "the API server keeps every field that Steno sets"


def admit(apiserver, namespace, profile, spec):
    template = build(profile=profile, **spec)["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "worker"},
        # The test's server does without the admission plugin that fills this in.
        "spec": {"serviceAccountName": "default", **template["spec"]},
    }
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
    return apiserver.request("POST", path, pod)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("spec", SPECS)
def test_the_restricted_standard_admits_the_pod(apiserver, restricted, profile, spec):
    answer = admit(apiserver, restricted, PROFILES[profile], SPECS[spec])
    assert answer.status == 201, answer.message
    assert answer.warnings == ()


def test_an_override_can_leave_the_restricted_standard(apiserver, restricted):
    answer = admit(apiserver, restricted, {"podOverrides": {"hostNetwork": True}}, SPECS["s3"])
    assert answer.status == 403
    assert "PodSecurity" in answer.message
