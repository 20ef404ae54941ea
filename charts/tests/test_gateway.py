"""The gateway of the chart: what it is given, and what it may do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from charts.tests.helm import CHART, helm, of_kind, render
from steno_gateway.settings import Settings

pytestmark = pytest.mark.apiserver  # helm has to be built

ON = ("--set=gateway.enabled=true,gateway.store.uri=s3://steno/a",)


def named(objects: list[dict[str, Any]], kind: str, name: str = "steno-gateway") -> dict[str, Any]:
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def test_it_is_off_unless_asked_for():
    assert not [each for each in render() if "gateway" in each["metadata"]["name"]]


def test_it_needs_a_store():
    done = helm("template", "steno", CHART, "--set=gateway.enabled=true", check=False)
    assert done.returncode != 0
    assert "gateway.store.uri: name the bucket" in done.stderr


def test_its_settings_are_the_programs():
    objects = render(*ON, "--values", CHART / "ci" / "full-values.yaml")
    text = named(objects, "ConfigMap", "stt-gateway")["data"]["settings.json"]
    settings = Settings.model_validate_json(text)
    assert settings.to_wire() == Settings.model_validate(json.loads(text)).to_wire()
    assert settings.name == "stt-gateway"
    assert settings.key_secrets == ("steno-api-keys", "steno-api-keys-2")
    assert settings.store.uri == "s3://steno/a"
    assert settings.transcription == {"execution": "Auto", "model": {"name": "small"}, "profileRef": {"name": "mig"}}
    assert settings.webhooks.retry_seconds == (1, 60)
    assert settings.egress.allowed_networks == ["10.96.20.7/32"]
    assert set(json.loads(text)) == {field.alias for field in Settings.model_fields.values()}


def test_its_defaults_are_the_programs():
    text = named(render(*ON), "ConfigMap")["data"]["settings.json"]
    operator = {
        "url": "https://steno-operator.steno-system.svc:8080",
        "tokenFile": "/var/run/steno/operator/token",
        "caFile": "/var/run/steno/operator/ca.crt",
    }
    given = {"store": {"uri": "s3://steno/a"}, "name": "steno-gateway", "namespace": "steno-system"}
    ours = Settings.model_validate({**given, "operator": operator})
    assert Settings.model_validate_json(text) == ours


@pytest.mark.parametrize("namespaces", ["", "team-a"])
def test_it_may_create_work_read_the_keys_hold_its_lease_and_nothing_else(namespaces: str):
    objects = render(*ON, *([f"--set=watchNamespaces={{{namespaces}}}"] if namespaces else []))
    bindings = [
        each
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for each in of_kind(objects, kind)
        if each["subjects"][0]["name"] == "steno-gateway"
    ]
    roles = [named(objects, each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings]
    rules = sorted((rule for role in roles for rule in role["rules"]), key=lambda rule: rule["apiGroups"])
    reads = ["get", "list", "watch"]
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["steno-api-keys"], "verbs": reads},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["steno-gateway-webhooks"],
            "verbs": ["get", "update"],
        },
        {
            "apiGroups": ["steno.dev"],
            "resources": ["transcriptionjobs", "ocrjobs", "streamsessions"],
            "verbs": [*reads, "create", "delete"],
        },
    ]
    assert {each["metadata"].get("namespace") for each in bindings} == {namespaces or None, "steno-system"}


def test_the_network_policy_admits_clients_to_its_port_alone():
    peer = "networkPolicy.gatewayFrom[0].podSelector.matchLabels.app=ingress"
    for options, expected in (((), None), ((f"--set={peer}",), [{"podSelector": {"matchLabels": {"app": "ingress"}}}])):
        policy = named(render(*ON, *options), "NetworkPolicy")
        rule, metrics = policy["spec"]["ingress"]
        assert metrics["ports"] == [{"port": "metrics"}]
        assert (rule["ports"], rule.get("from")) == ([{"port": "http"}], expected)


def test_grpc_is_served_if_it_is_asked_for():
    plain, objects = render(*ON), render(*ON, "--set=gateway.grpc.enabled=true,gateway.grpc.port=50051")
    for made, names in ((plain, {"http"}), (objects, {"http", "grpc"})):
        ports = {each["name"]: each for each in named(made, "Service")["spec"]["ports"]}
        assert ports.keys() == names
        admitted = named(made, "NetworkPolicy")["spec"]["ingress"][0]["ports"]
        assert {each["port"] for each in admitted} == names
        [container] = named(made, "Deployment")["spec"]["template"]["spec"]["containers"]
        opened = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert opened.keys() == names | {"metrics"}
        assert (f"--grpc-port={opened.get('grpc')}" in container["args"]) == ("grpc" in names)
    assert (ports["grpc"]["port"], ports["grpc"]["targetPort"]) == (50051, "grpc")
    assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c", "else proxies speak HTTP/1 to it"


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ((), {"name": "steno-operator-report-ca", "items": [{"key": "tls.crt", "path": "ca.crt"}], "optional": True}),
        (
            ("--set=reports.tls.secretName=mine",),
            {"name": "mine", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True},
        ),
        (("--set=reports.tls.enabled=false",), None),
    ],
)
def test_it_is_known_to_the_operator_and_gets_no_key_of_its_ca(options: tuple[str, ...], secret: Any):
    objects = render(*ON, *options)
    (_, volume) = named(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    token, *more = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "steno-operator"
    assert [each["secret"] for each in more] == ([secret] if secret else [])
    settings = Settings.model_validate_json(named(objects, "ConfigMap")["data"]["settings.json"])
    operator = named(objects, "Deployment", "steno-operator")["spec"]["template"]["spec"]["containers"][0]
    environment = {each["name"]: each.get("value") for each in operator["env"]}
    assert settings.operator is not None
    assert settings.operator.url == environment["STENO_REPORT_URL"]
    assert (settings.operator.ca_file is None) == (secret is None)
    assert environment["STENO_GATEWAYS"] == "steno-system/steno-gateway"
    workers, gateway = named(objects, "NetworkPolicy", "steno-operator")["spec"]["ingress"][0]["from"]
    assert "namespaceSelector" in workers
    labels = named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert gateway["podSelector"]["matchLabels"].items() <= labels.items()
    assert "namespaceSelector" not in gateway, "only in the release's own namespace"
