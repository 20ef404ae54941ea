"""The chart's admission policy on the operator's user, on a real API server: what its rights are worth without it."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from charts.tests.helm import CHART, of_kind, render
from hack.steps import wait_for
from steno_api.credentials import S3_KEYS, SOURCE_URI, WEB_KEYS
from steno_operator.manifests.deployment import QUEUE_KEYS
from steno_operator.manifests.pod_template import certificate_mount, secret_mount
from steno_operator.manifests.task import HF_TOKEN
from tests.support.apiserver import ApiServer, Response

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

FULL_NAME = "policed"
UID = "11111111-2222-3333-4444-555555555555"
MANAGED = {"app.kubernetes.io/managed-by": "steno"}
PATHS = {
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Pod": "/api/v1/namespaces/{}/pods",
    "RuntimePool": "/apis/steno.dev/v1alpha1/namespaces/{}/runtimepools",
}
VERSIONS = {"Job": "batch/v1", "Deployment": "apps/v1", "RuntimePool": "steno.dev/v1alpha1"}
CONTAINER = {
    "name": "worker",
    "image": "x",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
POD = {
    "restartPolicy": "Never",
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
}
CERTIFICATE = certificate_mount("tls", "/tls", "stt-tls")
QUEUES = ("--set", "queue.kind=RedisStreams,queue.url=rediss://queue.example:6379/0")
QUEUE = secret_mount("queue", "/queue", "queue-server", replace(QUEUE_KEYS, required=("ca.crt",)))
TOKEN = {"serviceAccountToken": {"path": "token", "audience": "steno-operator"}}


def child(kind: str, name: str, owner: tuple[str, str] | None, body: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return an object with Steno's label, and a controller if `owner` (kind, name) is given."""
    references = [
        {"apiVersion": "steno.dev/v1alpha1", "kind": each[0], "name": each[1], "uid": UID, "controller": True}
        for each in [owner]
        if each
    ]
    whole = {"name": name, "labels": MANAGED, "ownerReferences": references, **metadata}
    return {"apiVersion": VERSIONS.get(kind, "v1"), "kind": kind, "metadata": whole, **body}


def job(
    name: str = "talk-1", owner: tuple[str, str] | None = ("TranscriptionJob", "talk"), **pod: Any
) -> dict[str, Any]:
    return child("Job", name, owner, {"spec": {"template": {"spec": {**POD, **pod}}}})


def secret(
    name: str = "call-token-11111111", owner: tuple[str, str] | None = ("StreamSession", "call")
) -> dict[str, Any]:
    return child("Secret", name, owner, {"stringData": {"token": "confidential"}})


def service(owner: tuple[str, str] | None = ("RuntimePool", "hot"), **spec: Any) -> dict[str, Any]:
    own = {"selector": {"steno.dev/pool-uid": UID}, "ports": [{"port": 80}]}
    return child("Service", "hot-pool", owner, {"spec": {**own, **spec}})


def deployment(owner: tuple[str, str] | None = ("RuntimePool", "hot"), **pod: Any) -> dict[str, Any]:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {**POD, "restartPolicy": "Always", **pod}}
    return child("Deployment", "hot-pool", owner, {"spec": {"selector": {"matchLabels": labels}, "template": template}})


def pool(name: str) -> dict[str, Any]:
    return child("RuntimePool", name, None, {"spec": {}})


def with_container(**context: Any) -> dict[str, Any]:
    return {"containers": [{**CONTAINER, "securityContext": {**CONTAINER["securityContext"], **context}}]}


def with_env(**value: Any) -> dict[str, Any]:
    return {"containers": [{**CONTAINER, "env": [{"name": "X", **value}]}]}


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


class Operator:
    """The API server as the operator's ServiceAccount sees it, and as its administrator does."""

    def __init__(self, admin: ApiServer, namespace: str, home: str) -> None:
        self.admin = admin
        self.namespace = namespace
        self.home = home
        self.user = replace(admin, token=admin.service_account_token(home, f"{FULL_NAME}-operator"))

    def create(self, manifest: dict[str, Any], namespace: str = "", *, keep: bool = False) -> Response:
        path = PATHS[manifest["kind"]].format(namespace or self.namespace)
        return self.user.request("POST", path + ("" if keep else "?dryRun=All"), manifest)

    def of_others(self, manifest: dict[str, Any], namespace: str = "") -> str:
        """Make an object as somebody else; return its path."""
        path = PATHS[manifest["kind"]].format(namespace or self.namespace)
        answer = self.admin.request("POST", path, manifest)
        assert answer.status in (201, 409), answer.message
        return f"{path}/{manifest['metadata']['name']}"

    def patch(self, path: str, body: dict[str, Any]) -> Response:
        return self.user.request("PATCH", path, body, content_type="application/merge-patch+json")


@pytest.fixture(scope="module")
def operator(apiserver: ApiServer) -> Operator:
    """The chart's permissions and policy, in force."""
    home = apiserver.namespace("release")
    operator = Operator(apiserver, apiserver.namespace("policed"), home)
    values = "runtimeProfiles.cpu.modelStore.hostPath=/models,admissionPolicies.operator.serviceAccounts={lent}"
    rendered = render("--namespace", home, "--set", f"fullnameOverride={FULL_NAME}", "--set", values, *QUEUES)
    for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
        for each in of_kind(rendered, kind):
            if each["metadata"]["name"].startswith(f"{FULL_NAME}-operator"):
                apiserver.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        for each in of_kind(rendered, kind):
            if each["metadata"]["name"] == f"{FULL_NAME}-operator-operator":  # the others are for every user's objects
                apiserver.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    wait_for("the policy", lambda: operator.create(job(owner=None)).status == 422, timeout=60)
    return operator


def refused(answer: Response) -> bool:
    """Whether it was the policy that said no."""
    return answer.status in (403, 422) and "ValidatingAdmissionPolicy" in answer.message


OURS = {
    "job": job(),
    "ocr-job": job("page-12", ("OCRJob", "page")),
    "token": secret(),
    "deployment": deployment(),
    "certificate-of-a-pool": deployment(volumes=[{"name": CERTIFICATE.name, **CERTIFICATE.volume}]),
    "queue-of-a-pool": deployment(volumes=[{"name": QUEUE.name, **QUEUE.volume}]),
    "service": service(),
    "default-pool": pool("default"),
    "report-token": job(**volume(projected={"sources": [TOKEN]})),
    "claim": job(**volume(persistentVolumeClaim={"claimName": "media"})),
    "credentials": job(
        **volume(projected={"sources": [{"secret": {"name": "s3", "items": [{"key": "AWS_REGION", "path": "r"}]}}]})
    ),
    "hub-token": job(**with_env(valueFrom={"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}})),
    "service-account-of-the-chart": job(serviceAccountName="lent"),
    "hostpath-of-a-profile": job(
        **volume(hostPath={"path": "/models"}),
        containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/m", "readOnly": True}]}],
    ),
}
FOREIGN = {
    "certificate-of-something-else": job(volumes=[{"name": CERTIFICATE.name, **CERTIFICATE.volume}]),
    "whole-secret-of-a-pool": deployment(**volume(secret={"secretName": "tls"})),
    "job-without-owner": job(owner=None),
    "job-of-another-kind": job(owner=("RuntimePool", "talk")),
    "job-of-another-name": job("backup-1"),
    "job-of-no-attempt": job("talk-latest"),
    "secret-without-owner": secret(owner=None),
    "secret-of-another-name": secret("call-token-22222222"),
    "secret-that-gets-a-token": {
        **child(
            "Secret",
            "call-token-11111111",
            ("StreamSession", "call"),
            {"type": "kubernetes.io/service-account-token"},
            annotations={"kubernetes.io/service-account.name": "default"},
        )
    },
    "deployment-of-a-job": deployment(("TranscriptionJob", "hot")),
    "service-of-others": service(selector={"app": "database"}),
    "service-of-another-pool": service(selector={"steno.dev/pool-uid": "other"}),
    "service-with-external-addresses": service(externalIPs=["192.0.2.1"]),
    "service-of-a-load-balancer": service(type="LoadBalancer"),
    "service-of-a-name": service(type="ExternalName", externalName="example.com"),
    "pool-of-another-name": pool("miner"),
    "unlabelled": {**job(), "metadata": {**job()["metadata"], "labels": {}}},
    "api-token": job(automountServiceAccountToken=True),
    "api-token-by-volume": job(**volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]})),
    "token-of-others": job(
        **volume(projected={"sources": [{"serviceAccountToken": {"path": "token", "audience": "vault"}}]})
    ),
    "service-account": job(serviceAccountName="cluster-admin"),
    "host-network": job(hostNetwork=True),
    "host-pid": job(hostPID=True),
    "root": job(securityContext={**POD["securityContext"], "runAsUser": 0}),
    "root-container": job(**with_container(runAsUser=0)),
    "privilege-escalation": job(**with_container(allowPrivilegeEscalation=True)),
    "every-system-call": job(**with_container(seccompProfile={"type": "Unconfined"})),
    "capabilities": job(**with_container(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    "init-container": job(initContainers=[{"name": "i", "image": "x"}]),
    "node": job(**volume(hostPath={"path": "/etc"})),
    "node-beside-the-models": job(**volume(hostPath={"path": "/models2"})),
    "hostpath-written": job(
        **volume(hostPath={"path": "/models"}),
        containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/m"}]}],
    ),
    "whole-secret": job(**volume(secret={"secretName": "others"})),
    "key-of-others": job(
        **volume(projected={"sources": [{"secret": {"name": "ci", "items": [{"key": "token", "path": "t"}]}}]})
    ),
    "queue-of-a-job": job(volumes=[{"name": QUEUE.name, **QUEUE.volume}]),
    "secret-without-items": job(**volume(projected={"sources": [{"secret": {"name": "ci"}}]})),
    "variable-of-others": job(**with_env(valueFrom={"secretKeyRef": {"name": "ci", "key": "token"}})),
    "variables-of-others": job(containers=[{**CONTAINER, "envFrom": [{"secretRef": {"name": "ci"}}]}]),
    "nfs": job(**volume(nfs={"server": "192.0.2.1", "path": "/"})),
}


@pytest.mark.parametrize("manifest", OURS.values(), ids=OURS.keys())
def test_m2_what_the_operator_makes_is_taken(operator: Operator, manifest: dict[str, Any]):
    answer = operator.create(manifest)
    assert answer.status == 201, answer.message


@pytest.mark.parametrize("manifest", FOREIGN.values(), ids=FOREIGN.keys())
def test_m2_what_it_has_no_use_for_is_refused(operator: Operator, manifest: dict[str, Any]):
    answer = operator.create(manifest)
    assert refused(answer), (answer.status, answer.message)


@pytest.mark.parametrize("manifest", [job(), secret()], ids=["job", "secret"])
def test_m2_nothing_is_made_in_the_namespaces_of_kubernetes(operator: Operator, manifest: dict[str, Any]):
    assert refused(operator.create(manifest, "kube-system"))


@pytest.mark.parametrize(
    "manifest",
    [secret("others", None), deployment(None), service(None), job("others", None)],
    ids=lambda each: each["kind"],
)
@pytest.mark.parametrize("claim", [False, True], ids=["as-it-is", "claimed"])
def test_m2_what_is_of_others_is_neither_changed_nor_read(operator: Operator, manifest: dict[str, Any], claim: bool):
    """An empty patch answers with the whole object; nor can the operator make itself its owner."""
    manifest = copy.deepcopy(manifest)
    manifest["metadata"] |= {"labels": MANAGED, "name": "call-token-11111111"}
    path = operator.of_others(manifest)
    body = {"metadata": {"ownerReferences": secret()["metadata"]["ownerReferences"]}} if claim else {}
    answer = operator.patch(path, body)
    assert refused(answer), answer.message
    assert "confidential" not in json.dumps(answer.body)
    if manifest["kind"] == "Job":
        assert refused(operator.user.request("DELETE", path))


def test_m2_its_own_job_is_suspended_resumed_and_deleted(operator: Operator):
    """Also one of an older release, whose pods are not as those of this one."""
    path = operator.of_others(job("talk-7", hostNetwork=True))
    for suspend in (True, False):
        answer = operator.patch(
            path, {"metadata": {"annotations": {"steno.dev/suspended": None}}, "spec": {"suspend": suspend}}
        )
        assert answer.status == 200, answer.message
    assert operator.user.request("DELETE", path).status == 200


def test_m2_a_token_is_replaced(operator: Operator):
    path = f"{PATHS['Secret'].format(operator.namespace)}/call-token-11111111"
    operator.admin.request("DELETE", path)
    for token in ("first", "second"):
        query = "?fieldManager=steno-operator&force=true"
        body = {**secret(), "stringData": {"token": token}}
        answer = operator.user.request("PATCH", path + query, body, content_type="application/apply-patch+yaml")
        assert answer.status in (200, 201), answer.message
    operator.admin.request("DELETE", path)


@pytest.mark.parametrize("name", ["session-key", "report-ca"])
def test_m2_the_signing_key_and_the_ca_are_made_and_not_changed(operator: Operator, name: str):
    key = {"metadata": {"name": f"{FULL_NAME}-operator-{name}"}, "apiVersion": "v1", "kind": "Secret"}
    assert refused(operator.create(key))
    assert operator.create(key, operator.home, keep=True).status == 201
    path = f"{PATHS['Secret'].format(operator.home)}/{key['metadata']['name']}"
    assert refused(operator.patch(path, {"stringData": {"x": "y"}}))
    assert refused(operator.create({**key, "metadata": {"name": "other"}}, operator.home))


def test_m2_only_its_own_pods_are_labelled(operator: Operator):
    def pod(name: str, labels: dict[str, str]) -> str:
        return operator.of_others(
            {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"containers": [CONTAINER]}},
            operator.home,
        )

    (deployed,) = of_kind(render(), "Deployment")
    own = pod("own", deployed["spec"]["template"]["metadata"]["labels"])
    other = pod("other", {"app": "x"})
    label = {"metadata": {"labels": {"steno.dev/role": "leader"}}}
    answer = operator.patch(own, label)
    assert answer.status == 200, answer.message
    assert refused(operator.patch(other, label))
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "evil"}]
    assert refused(operator.user.request("PATCH", own, image, content_type="application/json-patch+json"))


def test_everybody_else_is_let_be(operator: Operator):
    path = PATHS["Job"].format(operator.namespace)
    assert operator.admin.request("POST", f"{path}?dryRun=All", job(owner=None)).status == 201


def test_the_keys_of_steno_are_those_that_pods_use():
    used = {*S3_KEYS.required, *S3_KEYS.optional, *WEB_KEYS.required, *WEB_KEYS.optional, SOURCE_URI, HF_TOKEN}
    (text,) = re.findall(r'steno.secretKeys" -}}(.*?){{', (CHART / "templates" / "_helpers.tpl").read_text(), re.DOTALL)
    assert set(json.loads(text)) == used


def test_what_overrides_make_of_pods_can_be_let_through():
    def rules(*values: str) -> list[str]:
        rendered = of_kind(render(*values), "ValidatingAdmissionPolicy")
        return [
            rule["message"]
            for policy in rendered
            if policy["metadata"]["name"] == "steno-operator-operator"
            for rule in policy["spec"]["validations"]
        ]

    assert any("restricted Pod Security" in each for each in rules())
    let_through = rules("--set", "admissionPolicies.operator.pods=Any")
    assert let_through
    assert not any("restricted Pod Security" in each for each in let_through)
    assert rules("--set", "admissionPolicies.operator.enabled=false") == []
