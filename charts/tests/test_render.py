"""What the chart renders, and what it refuses to."""

from __future__ import annotations

import json
import re

import pytest

from charts.tests.helm import CHART, VALUES, helm, of_kind, render
from steno_api.worker.task import EgressRules
from steno_operator.manifests import labels
from steno_operator.manifests.deployment import QUEUE_KEYS
from steno_operator.settings import CA_FILE, Settings
from steno_queue.settings import QueueSettings

pytestmark = pytest.mark.apiserver  # helm has to be built

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "RuntimeProfile",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_it_is_linted(values):
    helm("lint", "--strict", CHART, "--values", values)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_it_renders_objects_that_are_complete(values):
    objects = render("--values", values)
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(keys) == len(set(keys))
    for each in objects:
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "steno"
        assert ("namespace" in each["metadata"]) != (each["kind"] in CLUSTER_SCOPED), each["kind"]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_container_is_limited_in_memory_and_files_but_not_in_cpu(values):
    """Why not in CPU is in docs/security.md."""
    deployments = of_kind(render("--values", values), "Deployment")
    pods = [each["spec"]["template"]["spec"] for each in deployments]
    containers = [each for pod in pods for each in (*pod.get("initContainers", ()), *pod["containers"])]
    assert containers
    for each in containers:
        assert set(each["resources"]["limits"]) == {"memory", "ephemeral-storage"}, each["name"]
        assert set(each["resources"]["requests"]) >= {"cpu", "memory"}, each["name"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("replicas=0", "minimum: got 0, want 1"),
        ("replicas=two", "got string, want integer"),
        ("image.repo=steno", "additional properties 'repo' not allowed"),
        ("image.digest=sha256:12", "does not match pattern"),
        ("logLevel=verbose", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("settings.backoffSeconds=3", "additional properties 'backoffSeconds' not allowed"),
        ("watchNamespaces={Team_A}", "'Team_A' does not match pattern"),
        ("runtimeProfiles.gpu.acelerator.count=1", "additional properties 'acelerator' not allowed"),
        ("runtimeProfiles.GPU.image=x", "'GPU' does not match pattern"),
        ("streaming.defaultPool.models=x", "additional properties 'models' not allowed"),
        ("streaming.defaultPool.maxReplicas=0", "minimum: got 0, want 1"),
        ("admissionPolicies.metadata=true", "additional properties 'metadata' not allowed"),
        ("queue.kind=Kafka", "value must be one of '', 'RedisStreams', 'SQS'"),
        ("queue.kind=RedisStreams", "'/queue/url': '' does not match pattern"),
        ("queue.url=rediss://user:password@redis", "does not match pattern"),
        ("queue.kind=SQS,queue.url=https://sqs.example/1/steno", "does not match pattern"),
        ("networkPolicy.enable=true", "additional properties 'enable' not allowed"),
        ("egress.deniedNetworks={my.lan}", "'my.lan' does not match pattern"),
        ("serviceAccount.create=false", "serviceAccount.name: name the ServiceAccount to use"),
    ],
)
def test_it_refuses_what_is_wrong_and_says_what(values, message):
    done = helm("template", "steno", CHART, "--set", values, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_images_are_named_by_reference_then_digest_then_tag_then_version():
    def image(*settings: str) -> str:
        (deployment,) = of_kind(render(*(f"--set={each}" for each in settings)), "Deployment")
        return deployment["spec"]["template"]["spec"]["containers"][0]["image"]

    digest = "sha256:" + "0" * 64
    assert image() == "steno/operator:0.1.0"
    assert image("image.repository=r.example/o", "image.tag=t") == "r.example/o:t"
    assert image("image.tag=t", f"image.digest={digest}") == f"steno/operator@{digest}"
    assert image(f"image.digest={digest}", "image.reference=localhost:5001/o:x") == "localhost:5001/o:x"


def test_the_operator_is_told_what_it_must_know():
    objects = render(
        "--set=settings.backoffBaseSeconds=2,watchNamespaces={a,b},logLevel=debug",
        "--set=egress.deniedNetworks={10.0.0.0/8,fd00::/8},egress.allowedNetworks={10.96.20.7}",
    )
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"].removeprefix("STENO_").lower(): each.get("value", "of-the-pod") for each in container["env"]}
    settings = Settings(**given)
    assert set(given) <= set(Settings.model_fields)
    assert settings.served == ("a", "b")
    assert settings.backoff_base_seconds == 2
    assert settings.log_level == "DEBUG"
    assert settings.policy().egress == EgressRules(
        allowed_networks=["10.96.20.7"], denied_networks=["10.0.0.0/8", "fd00::/8"]
    )
    assert settings.runtime_image == "steno/runtime:0.1.0"
    assert settings.session_key_secret == "steno-operator-session-key"
    assert (settings.report_ca_secret, settings.report_tls_dir) == ("steno-operator-report-ca", "")
    assert (settings.default_pool_profile, settings.default_pool_max_replicas) == ("gpu", 1)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"reports": settings.report_port, "probes": settings.probe_port}
    reports = next(each for each in of_kind(objects, "Service") if "steno.dev/role" in each["spec"]["selector"])
    name, namespace = reports["metadata"]["name"], reports["metadata"]["namespace"]
    assert settings.report_url == f"https://{name}.{namespace}.svc:{reports['spec']['ports'][0]['port']}"


@pytest.mark.parametrize(
    ("values", "scheme", "given"),
    [
        ("reports.tls.enabled=true", "https", {"STENO_REPORT_CA_SECRET": "steno-operator-report-ca"}),
        ("reports.tls.secretName=cert", "https", {"STENO_REPORT_TLS_DIR": "/etc/steno/report-tls"}),
        ("reports.tls.enabled=false", "http", {}),
    ],
)
def test_m8_reports_are_encrypted_unless_values_say_otherwise(values: str, scheme: str, given: dict[str, str]):
    objects = render("--set", values)
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each.get("value", "") for each in container["env"]}
    assert env["STENO_REPORT_URL"].startswith(f"{scheme}://")
    assert {
        name: value for name, value in env.items() if name.startswith("STENO_REPORT_") and "URL" not in name
    } == given
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    secrets = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    assert {path: secrets[name] for path, name in mounted.items() if name in secrets} == (
        {"/etc/steno/report-tls": "cert"} if "STENO_REPORT_TLS_DIR" in given else {}
    )
    read = [
        name for role in of_kind(objects, "Role") for rule in role["rules"] for name in rule.get("resourceNames", ())
    ]
    assert ("steno-operator-report-ca" in read) == ("STENO_REPORT_CA_SECRET" in given)


REDIS = {"kind": "RedisStreams", "url": "rediss://redis.queues.svc:6379/1"}
SQS = {
    "kind": "SQS",
    "url": "https://sqs.eu-central-1.amazonaws.com/1/steno-{namespace}-{pool}-{priority}",
    "deadLetterURL": "https://sqs.eu-central-1.amazonaws.com/1/steno-{namespace}-{pool}-dead",
}


@pytest.mark.parametrize(
    ("values", "sources", "pool_secret"),
    [
        (REDIS, [], ""),
        (REDIS | {"credentialsSecret": "queue", "poolCredentialsSecret": "steno-queue"}, ["queue"], "steno-queue"),
        (REDIS | {"credentialsSecret": "queue", "caSecret": "ca", "maxReceives": 3}, ["queue", "ca"], ""),
        (SQS | {"region": "eu-central-1", "visibilitySeconds": 300}, [], ""),
    ],
)
def test_the_operator_reads_the_queue_of_the_values(tmp_path, values, sources, pool_secret):
    (tmp_path / "values.json").write_text(json.dumps({"queue": values}))
    (deployment,) = of_kind(render("--values", tmp_path / "values.json"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each.get("value", "") for each in container["env"]}
    settings = QueueSettings.model_validate_json(env["STENO_QUEUE"])
    given = {key: value for key, value in values.items() if not key.endswith("Secret")}
    assert {name for name in env if "QUEUE" in name} <= {f"STENO_{field.upper()}" for field in Settings.model_fields}
    policy = Settings(runtime_image="i", report_url="https://o", queue=env["STENO_QUEUE"]).policy().queue
    assert policy is not None
    assert policy.of_pool("team", "calls").name == "steno/team/calls"
    assert settings.to_wire().items() >= given.items()
    assert env["STENO_QUEUE_POOL_SECRET"] == pool_secret
    assert env.get("STENO_QUEUE_DIR") == ("/etc/steno/queue" if sources else None)
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.get("queue") == env.get("STENO_QUEUE_DIR")
    projected = [each["projected"]["sources"] for each in pod["volumes"] if each["name"] == "queue"]
    assert [each["secret"]["name"] for volume in projected for each in volume] == sources


def test_without_a_queue_the_operator_has_none():
    (deployment,) = of_kind(render(), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not [each["name"] for each in container["env"] if "QUEUE" in each["name"]]


@pytest.mark.parametrize(("values", "allowed"), [("", False), ("queue.kind=RedisStreams,queue.url=rediss://r", True)])
def test_the_credentials_of_a_queue_are_let_into_servers_where_there_is_one(values, allowed):
    policies = of_kind(render("--set", values), "ValidatingAdmissionPolicy")
    (policy,) = (each for each in policies if each["metadata"]["name"] == "steno-operator-operator")
    (rule,) = (each for each in policy["spec"]["validations"] if "tls.key" in each["expression"])
    projected = rule["expression"].partition("has(v.projected)")[2]
    keys = {key for found in re.findall(r"item.key in (\[.*?\])", projected) for key in json.loads(found)}
    assert ({*QUEUE_KEYS.optional, CA_FILE} <= keys) == allowed


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_selectors_select_the_pods_of_one_deployment(values):
    objects = render("--values", values)
    deployments = of_kind(objects, "Deployment")
    for deployment in deployments:
        pod = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= pod.items()
    selectors = [(each, each["spec"]["selector"]) for each in of_kind(objects, "Service")]
    selectors += [(each, each["spec"]["selector"]["matchLabels"]) for each in of_kind(objects, "PodDisruptionBudget")]
    for other, selector in selectors:
        (selected,) = (
            each["spec"]["template"]
            for each in deployments
            if selector.items()
            <= {**each["spec"]["template"]["metadata"]["labels"], "steno.dev/role": "leader"}.items()
        )
        ports = {port["name"] for port in selected["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in other["spec"].get("ports", ())} <= ports
    metrics = next(each for each in of_kind(objects, "Service") if each["spec"].get("clusterIP") == "None")
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()


def test_the_network_policy_admits_workers_and_servers():
    (policy,) = of_kind(render("--set=networkPolicy.enabled=true"), "NetworkPolicy")
    (peer,) = policy["spec"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"] == {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}
    (names,) = peer["podSelector"]["matchExpressions"]
    assert (names["key"], names["operator"]) == (labels.NAME, "In")
    assert set(names["values"]) == {labels.NAME_VALUE, labels.SERVER_VALUE}


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_no_role_has_wildcards_or_reads_secrets_but_its_own(values):
    rules = [rule for each in render("--values", values) if each["kind"].endswith("Role") for rule in each["rules"]]
    assert rules
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if "secrets" in rule["resources"] and not set(rule["verbs"]) <= {"create", "patch"}:
            key, *others = rule["resourceNames"]
            if key.startswith("steno-api-keys"):  # the gateway's
                assert all(each.startswith("steno-api-keys") for each in others)
                continue
            assert rule["verbs"] == ["get"]
            assert key.endswith("-operator-session-key")
            assert all(each.endswith("-operator-report-ca") for each in others)
        assert not {"impersonate", "escalate", "bind"} & set(rule["verbs"])


def test_with_namespaces_named_nothing_of_jobs_is_cluster_wide():
    objects = render("--set=watchNamespaces={team-a,team-b},rbac.aggregate=false")
    cluster = {
        resource for role in of_kind(objects, "ClusterRole") for rule in role["rules"] for resource in rule["resources"]
    }
    assert cluster == {
        "runtimeprofiles", "tenants", "tenants/status", "tenantquotas", "tenantquotas/status", "tokenreviews",
    }  # fmt: skip
    namespaces = {role["metadata"]["namespace"] for role in of_kind(objects, "Role")}
    assert namespaces == {"team-a", "team-b", "steno-system"}


def test_profiles_can_be_left_out_and_added():
    objects = render("--set=runtimeProfiles.cpu=null,runtimeProfiles.big.accelerator.count=2")
    assert {each["metadata"]["name"] for each in of_kind(objects, "RuntimeProfile")} == {"gpu", "big"}


def test_one_replica_has_no_disruption_budget():
    assert not of_kind(render("--set=replicas=1"), "PodDisruptionBudget")
    assert of_kind(render(), "PodDisruptionBudget")


def test_definitions_are_part_of_the_release_and_kept_if_wanted():
    annotation = "helm.sh/resource-policy"
    kept = of_kind(render(), "CustomResourceDefinition")
    assert {each["metadata"]["annotations"].get(annotation) for each in kept} == {"keep"}
    loose = of_kind(render("--set=crds.keep=false"), "CustomResourceDefinition")
    assert {(each["metadata"].get("annotations") or {}).get(annotation) for each in loose} == {None}
    assert not of_kind(render("--set=crds.enabled=false"), "CustomResourceDefinition")
    assert len(kept) == len(loose) > 1


def test_metrics_need_a_token_if_there_is_a_secret_with_one():
    on = ("--set=gateway.enabled=true,gateway.store.uri=s3://a/b", "--set=metrics.serviceMonitor.enabled=true")
    for settings, secret in ((on, None), ((*on, "--set=metrics.tokenSecret.name=prometheus"), "prometheus")):
        objects = render(*settings)
        (monitor,) = of_kind(objects, "ServiceMonitor")
        (endpoint,) = monitor["spec"]["endpoints"]
        asked = endpoint.get("authorization")
        assert asked == (secret and {"type": "Bearer", "credentials": {"name": secret, "key": "token"}})
        for deployment in of_kind(objects, "Deployment"):
            pod = deployment["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            given = [each["value"] for each in container["env"] if each["name"] == "STENO_METRICS_TOKEN_FILE"]
            given += [each.partition("=")[2] for each in container.get("args", ()) if "metrics-token-file" in each]
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            volumes = [each for each in pod["volumes"] if each.get("secret", {}).get("secretName") == "prometheus"]
            assert len(given) == len(volumes) == (1 if secret else 0)
            for volume in volumes:
                (item,) = volume["secret"]["items"]
                assert item["key"] == "token"
                assert given == [f"{mounts[volume['name']]}/{item['path']}"]
