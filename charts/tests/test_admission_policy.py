"""The chart's admission policy on a real API server: what users may add to the metadata of Steno's resources."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from charts.tests.helm import of_kind, render
from hack.paths import ROOT
from hack.steps import wait_for
from tests.support.apiserver import ApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
LARGE = {
    "labels": {"labels": {f"team-{number}": "x" for number in range(65)}},
    "annotations": {"annotations": {"note": "x" * 32_768}},
    "number-of-annotations": {"annotations": {f"note-{number}": "x" for number in range(65)}},
    "last-applied": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 200_000}},
    "finalizers": {"finalizers": [f"example.com/finalizer-{number}" for number in range(17)]},
}
LARGEST = {
    "labels": {f"team-{number}": "x" for number in range(64)},
    "annotations": {"note": "x" * 32_000},
    "finalizers": [f"example.com/finalizer-{number}" for number in range(16)],
}


def job(name: str, **metadata: Any) -> str:
    spec = {"source": {"uri": "s3://in/a.wav"}, "output": {"uri": "s3://out"}, "suspend": True}
    resource = {"apiVersion": "steno.dev/v1alpha1", "kind": "TranscriptionJob", "spec": spec}
    return json.dumps({**resource, "metadata": {"name": name, **metadata}})


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return apiserver


@pytest.fixture(scope="module")
def namespace(server: ApiServer) -> str:
    """A namespace with a large job `old` from before the policy, which is in force for this namespace alone."""
    namespace = server.namespace("policy")
    both = {"labels": LARGE["labels"]["labels"], "annotations": LARGE["annotations"]["annotations"]}
    server.kubectl("create", "-f", "-", stdin=job("old", **both), namespace=namespace)
    rendered = render("--set", f"watchNamespaces={{{namespace}}}")
    for each in (*of_kind(rendered, POLICY), *of_kind(rendered, BINDING)):
        server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    wait_for("the policy", lambda: bool(refusal(server, namespace, job("probe", **both))), timeout=60)
    return namespace


def refusal(server: ApiServer, namespace: str, resource: str) -> str:
    """Why the API server does not take a resource; empty: it does. kubectl would write its own annotation anew."""
    path = f"/apis/steno.dev/v1alpha1/namespaces/{namespace}/transcriptionjobs?dryRun=All"
    answer = server.request("POST", path, json.loads(resource))
    return "" if answer.status == 201 else answer.message


@pytest.mark.parametrize("metadata", LARGE.values(), ids=LARGE.keys())
def test_h2_large_metadata_is_refused(server, namespace, metadata):
    (field,) = metadata
    assert f"metadata.{field}: at most" in refusal(server, namespace, job("large", **metadata))


def test_what_is_just_small_enough_is_taken(server, namespace):
    assert refusal(server, namespace, job("largest", **LARGEST)) == ""


@pytest.mark.parametrize("example", ["transcriptionjob-full.yaml", "ocrjob.yaml", "runtimepool.yaml"])
def test_kubectl_apply_is_taken(server, namespace, example):
    server.kubectl("apply", "-f", ROOT / "examples" / example, namespace=namespace)
    server.kubectl("apply", "-f", ROOT / "examples" / example, namespace=namespace)


def test_a_resource_from_before_may_change_and_shrink_and_go_but_not_grow(server, namespace):
    def change(body: dict[str, Any]) -> str:
        patch = ("patch", "tj", "old", "--type=merge", "-p", json.dumps(body))
        return server.kubectl(*patch, namespace=namespace, check=False).stderr

    assert change({"spec": {"suspend": False}}) == ""
    assert change({"metadata": {"annotations": {"note": "x" * 32_767}}}) == ""
    assert "at most 64 annotations" in change({"metadata": {"annotations": {"note": "x" * 40_000}}})
    assert "at most 64 labels" in change({"metadata": {"labels": {"one-more": "x"}}})
    assert change({"metadata": {"labels": {"team-0": None}}}) == ""
    server.kubectl("delete", "tj", "old", "--timeout=30s", namespace=namespace)


def test_it_can_be_left_out():
    def policies(*values: str) -> list[dict[str, Any]]:
        rendered = render(*values)
        both = (*of_kind(rendered, POLICY), *of_kind(rendered, BINDING))
        return [each for each in both if each["metadata"]["name"] == "steno-operator-metadata-size"]

    assert policies("--set", "admissionPolicies.metadataSize=false") == []
    policy, _ = policies()
    assert "namespaceSelector" not in policy["spec"]["matchConstraints"]
