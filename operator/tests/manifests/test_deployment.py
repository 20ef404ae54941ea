"""The configuration of a pool's servers."""

import json
from dataclasses import replace
from typing import Any

import pytest

from steno_api.server.task import PoolTask
from steno_api.v1alpha1 import RuntimePool, RuntimeProfile, StreamSession
from steno_api.worker.task import EgressRules
from steno_operator.manifests.deployment import ServerConfig, build_deployment, build_pool_task
from steno_operator.manifests.service import build_service, endpoints_of

CONFIG = ServerConfig(
    runtime_image="runtime:1",
    report_url="http://operator:8080",
    report_interval_seconds=1,
    token_keys=["key"],
    pod_labels={},
)


def built(**overrides: Any) -> tuple[dict[str, Any], PoolTask]:
    """The pod's spec, and the task of its server."""
    pool = RuntimePool.from_wire({"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {}})
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"podOverrides": overrides}})
    pod = build_deployment(pool, profile, CONFIG, 1)["spec"]["template"]["spec"]
    return pod, PoolTask.model_validate(json.loads(pod["containers"][0]["args"][1]))


def test_sessions_have_the_pods_grace_period_to_end_but_for_the_last_words():
    pod, task = built()
    assert (pod["terminationGracePeriodSeconds"], task.drain_seconds) == (60, 50)


@pytest.mark.parametrize(("grace", "drain"), [(300, 290), (12, 2), (0, 0)])
def test_a_profile_may_give_more_or_less(grace: int, drain: int):
    pod, task = built(terminationGracePeriodSeconds=grace)
    assert (pod["terminationGracePeriodSeconds"], task.drain_seconds) == (grace, drain)


def test_metrics_and_probes_are_on_a_port_that_the_service_does_not_lead_to():
    pool = RuntimePool.from_wire({"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {}})
    pod, task = built()
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": task.http_port, "grpc": task.grpc_port, "probes": task.probe_port}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "probes"
    assert {port["targetPort"] for port in build_service(pool)["spec"]["ports"]} == {"http", "grpc"}


def test_networks_are_told_to_the_servers():
    egress = EgressRules(denied_networks=["10.0.0.0/8"])
    pool = RuntimePool.from_wire({"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {}})
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {}})
    assert build_pool_task(pool, profile, replace(CONFIG, egress=egress)).egress == egress


def test_a_grace_period_that_is_none_is_left_to_the_api_server_to_refuse():
    pod, task = built(terminationGracePeriodSeconds="two minutes")
    assert (pod["terminationGracePeriodSeconds"], task.drain_seconds) == ("two minutes", 50)


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ({"websocketURL": "wss://stt.example.com", "grpcURL": "stt.example.com:443"}, [True, True]),
        ({"websocketURL": "wss://stt.example.com", "grpcURL": "stt.example.com:9090", "grpcTLS": False}, [True, False]),
        ({"grpcURL": "stt.example.com:443", "grpcTLS": True}, [False, True]),
        ({"grpcURL": "stt.example.com:80"}, [False, False]),
        ({"websocketURL": "wss://stt.example.com"}, [True, False]),
    ],
)
def test_m8_endpoints_say_whether_tls_is_added_in_front_of_the_pool(endpoints: Any, expected: list[bool]):
    given = {"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {"endpoints": endpoints}}
    session = StreamSession.from_wire({"metadata": {"name": "call", "namespace": "ns", "uid": "u2"}, "spec": {}})
    assert [each.tls for each in endpoints_of(session, RuntimePool.from_wire(given))] == expected
