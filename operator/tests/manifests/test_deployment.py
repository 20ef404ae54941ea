"""The configuration of a pool's servers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steno_api.server.task import PoolTask
from steno_api.v1alpha1 import RuntimePool, RuntimeProfile, StreamSession
from steno_api.worker.task import EgressRules
from steno_operator.manifests.deployment import ServerConfig, build_deployment, build_pool_task
from steno_operator.manifests.service import build_service, endpoints_of
from steno_operator.plan.common.policy import QueuePolicy
from steno_queue.settings import QueueSettings

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


def test_m12_the_profile_tells_the_servers_how_slow_a_source_may_be():
    pool = RuntimePool.from_wire({"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {}})
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"minSourceBytesPerSecond": 5000}})
    assert build_pool_task(pool, profile, CONFIG).min_source_bytes_per_second == 5000


def test_networks_are_told_to_the_servers():
    egress = EgressRules(denied_networks=["10.0.0.0/8"])
    pool = RuntimePool.from_wire({"metadata": {"name": "default", "namespace": "ns", "uid": "u1"}, "spec": {}})
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {}})
    assert build_pool_task(pool, profile, replace(CONFIG, egress=egress)).egress == egress


def test_a_grace_period_that_is_none_is_left_to_the_api_server_to_refuse():
    pod, task = built(terminationGracePeriodSeconds="two minutes")
    assert (pod["terminationGracePeriodSeconds"], task.drain_seconds) == ("two minutes", 50)


REDIS = QueueSettings(kind="RedisStreams", url="rediss://redis.queue.svc:6379/1")
JOBS = {"workloads": ["Queue"], "queue": {"secretRefs": [{"name": "s3"}, {"name": "web.site"}]}}


def queued(queue: QueuePolicy | None, /, **spec: Any) -> tuple[dict[str, Any], PoolTask]:
    """The pod's spec, and the task of its server, of a pool that takes jobs."""
    pool = RuntimePool.from_wire(
        {"metadata": {"name": "docs", "namespace": "ns", "uid": "u1"}, "spec": {**JOBS, **spec}}
    )
    profile = RuntimeProfile.from_wire({"metadata": {"name": "cpu"}, "spec": {}})
    pod = build_deployment(pool, profile, replace(CONFIG, queue=queue), 1)["spec"]["template"]["spec"]
    return pod, PoolTask.model_validate(json.loads(pod["containers"][0]["args"][1]))


def mounted(pod: dict[str, Any]) -> dict[str, Any]:
    paths = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    return {paths[each["name"]]: each for each in pod["volumes"] if paths[each["name"]].startswith("/etc/steno")}


def test_servers_that_take_jobs_are_told_the_queue_and_mount_what_jobs_may_name():
    settings = REDIS.model_copy(update={"credentials_dir": Path("/own"), "ca_file": Path("/own/ca.crt")})
    pod, task = queued(QueuePolicy(settings, "queue-credentials"))
    assert task.queue is not None
    assert task.queue.credentials_root == "/etc/steno/queue-credentials"
    told = QueueSettings.from_wire(task.queue.settings)
    assert (told.url, told.name) == (REDIS.url, "steno/ns/docs")
    assert (str(told.credentials_dir), str(told.ca_file)) == ("/etc/steno/queue", "/etc/steno/queue/ca.crt")
    volumes = mounted(pod)
    assert sorted(volumes) == [
        "/etc/steno/queue",
        "/etc/steno/queue-credentials/s3",
        "/etc/steno/queue-credentials/web.site",
    ]
    [only] = volumes["/etc/steno/queue-credentials/s3"]["projected"]["sources"]
    keys = {item["key"] for item in only["secret"]["items"]}
    assert only["secret"]["optional"] is True
    assert {"AWS_ACCESS_KEY_ID", "steno-http-token", "allowedPrefix"} <= keys
    required, optional = (each["secret"] for each in volumes["/etc/steno/queue"]["projected"]["sources"])
    assert [item["key"] for item in required["items"]] == ["ca.crt"]
    assert {"username", "password"} <= {item["key"] for item in optional["items"]}


def test_without_a_secret_for_pools_their_servers_have_no_credentials_for_the_queue():
    settings = REDIS.model_copy(update={"credentials_dir": Path("/own"), "ca_file": Path("/own/ca.crt")})
    pod, task = queued(QueuePolicy(settings), queue={})
    assert task.queue is not None
    told = QueueSettings.from_wire(task.queue.settings)
    assert (told.credentials_dir, told.ca_file, mounted(pod)) == (None, None, {})


def test_a_queue_of_its_own_is_named_after_the_pool():
    sqs = QueueSettings(
        kind="SQS",
        url="https://sqs.eu-central-1.amazonaws.com/1/{namespace}-{pool}-{priority}",
        dead_letter_url="https://sqs.eu-central-1.amazonaws.com/1/{namespace}-{pool}-dead",
    )
    task = queued(QueuePolicy(sqs))[1]
    assert task.queue is not None
    told = QueueSettings.from_wire(task.queue.settings)
    assert told.url.endswith("/ns-docs-{priority}")
    assert told.dead_letter_url.endswith("/ns-docs-dead")


@pytest.mark.parametrize(("workloads", "live"), [(["Queue"], False), (["Streams", "Queue"], True)])
def test_servers_are_told_whether_text_must_come_soon(workloads: list[str], live: bool):
    _, task = queued(QueuePolicy(REDIS), workloads=workloads)
    assert task.live is live


def test_a_pool_of_streams_knows_no_queue():
    pod, task = queued(QueuePolicy(REDIS, "queue-credentials"), workloads=["Streams"], queue=None)
    assert (task.queue, mounted(pod)) == (None, {})


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
