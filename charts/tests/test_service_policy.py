"""The chart's admission policy on pools' Services, on a real API server: their types and annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from charts.tests.helm import of_kind, render
from hack.paths import ROOT
from hack.steps import wait_for
from tests.support.apiserver import ApiServer, Response

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

BALANCED = {
    "type": "LoadBalancer",
    "allowPlaintext": True,
    "annotations": {"external-dns.alpha.kubernetes.io/hostname": "bank.example.com"},
}


class Pools:
    """The pools of a namespace."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.path = f"/apis/steno.dev/v1alpha1/namespaces/{namespace}/runtimepools"

    def create(self, name: str, service: dict[str, Any] | None, *, keep: bool = False) -> Response:
        spec = {} if service is None else {"service": service}
        return self.server.request("POST", self.path + ("" if keep else "?dryRun=All"), pool(name, spec))

    def change(self, name: str, spec: dict[str, Any]) -> Response:
        path = f"{self.path}/{name}?dryRun=All"
        return self.server.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")


def pool(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimePool", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def pools(apiserver: ApiServer) -> Pools:
    """A namespace with a pool `old` from before the policy, which is in force for this namespace alone."""
    namespace = apiserver.namespace("services")
    pools = Pools(apiserver, namespace)
    assert pools.create("old", BALANCED, keep=True).status == 201
    values = f"watchNamespaces={{{namespace}}},streaming.serviceAnnotationKeys={{example.com/class,plain}}"
    rendered = render("--namespace", namespace, "--set", values)
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        for each in of_kind(rendered, kind):
            if each["metadata"]["name"].endswith("-pool-service"):
                apiserver.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    wait_for("the policy", lambda: pools.create("probe", BALANCED).status == 422, timeout=60)
    return pools


ALLOWED = {
    "none": None,
    "empty": {},
    "node-port": {"type": "NodePort", "allowPlaintext": True, "httpNodePort": 30081},
    "annotation": {"annotations": {"example.com/class": "internal", "plain": "x"}},
}
REFUSED = {
    "load-balancer": (
        {"type": "LoadBalancer", "allowPlaintext": True},
        "spec.service.type: this cluster allows ClusterIP, NodePort",
    ),
    "host-name": ({"annotations": BALANCED["annotations"]}, "this cluster allows example.com/class, plain"),
}


@pytest.mark.parametrize("service", ALLOWED.values(), ids=ALLOWED.keys())
def test_m10_what_the_chart_lists_is_taken(pools: Pools, service: dict[str, Any] | None):
    answer = pools.create("new", service)
    assert answer.status == 201, answer.message


@pytest.mark.parametrize(("service", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_m10_other_services_are_not_free_to_who_may_create_pools(pools: Pools, service: dict[str, Any], message: str):
    answer = pools.create("new", service)
    assert answer.status == 422
    assert message in answer.message


def test_a_pool_from_before_keeps_its_service(pools: Pools):
    assert pools.change("old", {"maxReplicas": 2}).status == 200
    assert pools.change("old", {"service": {"type": "ClusterIP"}}).status == 200
    assert pools.change("old", {"service": {"annotations": {"more": "x"}}}).status == 422
    other = dict.fromkeys(BALANCED["annotations"], "other.example.com")
    assert pools.change("old", {"service": {"annotations": other}}).status == 422


def test_the_examples_pool_is_taken_as_the_chart_comes(pools: Pools):
    path = str(ROOT / "examples" / "runtimepool.yaml")
    pools.server.kubectl("apply", "--dry-run=server", "-f", path, namespace=pools.namespace)


def test_everything_can_be_let_through():
    def expressions(*values: str) -> str:
        rendered = of_kind(render(*values), "ValidatingAdmissionPolicy")
        return json.dumps([each["spec"] for each in rendered if each["metadata"]["name"].endswith("-pool-service")])

    assert "annotations[0]" in expressions()
    assert "spec.service.annotations" not in expressions("--set", "streaming.serviceAnnotationKeys={*}")
    assert "LoadBalancer" in expressions("--set", "streaming.serviceTypes={ClusterIP,LoadBalancer}")
