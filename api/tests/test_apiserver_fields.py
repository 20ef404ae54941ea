"""What a real kube-apiserver makes of a resource's fields: defaults, unknown ones, and those that it must not touch."""

from __future__ import annotations

import pytest

from steno_api.v1alpha1 import RuntimeProfile
from tests.support.apiserver import ApiServer
from tests.support.resources import create, job, profile

pytestmark = pytest.mark.apiserver


def test_defaults_are_filled_in_and_nothing_is_invented(apiserver: ApiServer, namespace: str) -> None:
    spec = create(apiserver, namespace, job()).body
    assert "status" not in spec
    assert spec["spec"] == {
        "source": {"uri": "s3://meetings/standup.m4a"},
        "output": {"uri": "s3://transcripts", "formats": ["json"]},
        "model": {"name": "large-v3", "computeType": "Auto", "batchSize": "Auto"},
        "language": "auto",
        "translate": False,
        "execution": "Job",
        "profileRef": {"name": "gpu"},
        "priority": 0,
        "backoffLimit": 2,
        "ttlPolicy": "DeleteChildren",
        "suspend": False,
    }
    partly = create(apiserver, namespace, job("partly", model={"name": "base"})).body["spec"]["model"]
    assert partly == {"name": "base", "computeType": "Auto", "batchSize": "Auto"}
    bare = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": "bare"}}
    answer = create(apiserver, namespace, bare, "?dryRun=All")
    filled_in = {
        "imagePullPolicy": "IfNotPresent",
        "scratchSize": "20Gi",
        "hub": {"downloads": "Pinned"},
        "minSourceBytesPerSecond": 65536,
    }
    assert answer.body["spec"] == filled_in
    gpu = create(apiserver, namespace, profile(accelerator={}), "?dryRun=All")
    assert gpu.body["spec"]["accelerator"] == {"resource": "nvidia.com/gpu", "count": 1}


def test_k11_the_items_of_a_list_stay_as_they_were_applied(apiserver: ApiServer, namespace: str) -> None:
    given = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    answer = create(apiserver, namespace, profile("k11", tolerations=given))
    assert answer.status == 201, answer.message
    assert answer.body["spec"]["tolerations"] == given


def test_unknown_fields_are_refused_or_dropped_with_a_warning(apiserver: ApiServer, namespace: str) -> None:
    typo = job(diarisation={"maxSpeakers": 2})
    strict = create(apiserver, namespace, typo, "?fieldValidation=Strict")
    assert strict.status == 400
    assert 'unknown field "spec.diarisation"' in strict.message
    warned = create(apiserver, namespace, typo, "?fieldValidation=Warn")
    assert warned.status == 201
    assert warned.warnings == ('unknown field "spec.diarisation"',)
    assert "diarisation" not in warned.body["spec"]


def test_pod_overrides_keep_what_they_say(apiserver: ApiServer, namespace: str) -> None:
    overrides = {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["s3"]}], "schedulerName": "gang"}
    answer = create(apiserver, namespace, profile(podOverrides=overrides), "?dryRun=All&fieldValidation=Strict")
    assert answer.body["spec"]["podOverrides"] == overrides
    assert RuntimeProfile.from_wire(answer.body).spec.pod_overrides == overrides
