"""Least rights on a real API server, by SubjectAccessReviews: who can do what with the chart's RBAC in force."""

from __future__ import annotations

import pytest
import yaml

from charts.tests.helm import of_kind, render
from hack.paths import ROOT
from hack.steps import wait_for
from tests.support.apiserver import ApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

FULL_NAME = "rights"
WHO = ("operator", "worker", "view", "edit", "jobs")
NOBODY = ""
TABLE = {
    # Steno's own resources
    "get transcriptionjobs.steno.dev": "operator view edit jobs",
    "create transcriptionjobs.steno.dev": "edit jobs",
    "update transcriptionjobs.steno.dev": "edit jobs",
    "delete transcriptionjobs.steno.dev": "operator edit jobs",
    "deletecollection transcriptionjobs.steno.dev": "edit",
    "patch transcriptionjobs.steno.dev/status": "operator",
    "create ocrjobs.steno.dev": "edit jobs",
    "patch ocrjobs.steno.dev/status": "operator",
    "create streamsessions.steno.dev": "edit jobs",
    "patch streamsessions.steno.dev": "edit jobs",
    "patch streamsessions.steno.dev/status": "operator",
    "get runtimepools.steno.dev": "operator view edit",
    "create runtimepools.steno.dev": "operator edit",
    "patch runtimepools.steno.dev": "edit",
    "delete runtimepools.steno.dev": "edit",
    "patch runtimepools.steno.dev/scale": "edit",
    "patch runtimepools.steno.dev/status": "operator",
    # Cluster-scoped ones are the administrator's.
    "get runtimeprofiles.steno.dev": "operator",
    "create runtimeprofiles.steno.dev": NOBODY,
    "patch runtimeprofiles.steno.dev": NOBODY,
    "get tenants.steno.dev": "operator",
    "patch tenants.steno.dev": NOBODY,
    "patch tenants.steno.dev/status": "operator",
    "create tenantquotas.steno.dev": "operator",
    "patch tenantquotas.steno.dev": NOBODY,
    "patch tenantquotas.steno.dev/status": "operator",
    # What they become. The operator's writes are bounded by the admission policy on its user.
    "create jobs.batch": "operator edit",
    "patch deployments.apps": "operator edit",
    "delete deployments.apps": "edit",
    "create services": "operator edit",
    "delete services": "edit",
    "get pods": "operator view edit",
    "create pods": "edit",
    "patch pods": "edit",
    "delete pods": "edit",
    "create pods/exec": "edit",
    "create pods/attach": "edit",
    "create pods/portforward": "edit",
    "patch pods/ephemeralcontainers": NOBODY,
    "get pods/log": "view edit",
    "get secrets": "edit",
    "list secrets": "edit",
    "create secrets": "operator edit",
    "patch secrets": "operator edit",
    "delete secrets": "edit",
    "get configmaps": "view edit",
    "get persistentvolumeclaims": "view edit",
    "create events.": "operator edit",
    # Ways to more rights
    "create serviceaccounts/token": "edit",
    "impersonate serviceaccounts": "edit",
    "create rolebindings.rbac.authorization.k8s.io": NOBODY,
    "bind clusterroles.rbac.authorization.k8s.io": NOBODY,
    "escalate clusterroles.rbac.authorization.k8s.io": NOBODY,
    "impersonate users": NOBODY,
    "create tokenreviews.authentication.k8s.io": "operator",
    "create subjectaccessreviews.authorization.k8s.io": NOBODY,
    "patch validatingadmissionpolicies.admissionregistration.k8s.io": NOBODY,
    "delete validatingadmissionpolicybindings.admissionregistration.k8s.io": NOBODY,
    "create mutatingwebhookconfigurations.admissionregistration.k8s.io": NOBODY,
    "patch customresourcedefinitions.apiextensions.k8s.io": NOBODY,
    "get nodes": NOBODY,
    "get nodes/proxy": NOBODY,
    "create certificatesigningrequests.certificates.k8s.io": NOBODY,
    "update leases.coordination.k8s.io": "edit",
}
"""`verb resource.group/subresource` → who may, in a namespace that Steno serves."""
CLUSTER_SCOPED = {
    "runtimeprofiles", "tenants", "tenantquotas", "clusterroles", "users", "tokenreviews", "subjectaccessreviews",
    "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingwebhookconfigurations",
    "customresourcedefinitions", "nodes", "certificatesigningrequests",
}  # fmt: skip
OWN = {
    "get secrets/rights-operator-session-key": True,
    "get secrets/rights-operator-report-ca": True,
    "get secrets/another": False,
    "list secrets": False,
    "delete secrets": False,
    "update leases.coordination.k8s.io/rights-operator": True,
    "update leases.coordination.k8s.io/another": False,
    "patch pods": True,
    "create pods": False,
    "create pods/exec": False,
    "delete pods": False,
    "patch serviceaccounts": False,
    "create serviceaccounts/token": False,
    "patch deployments.apps/rights-operator": True,  # RBAC's; the policy refuses it
}
"""`verb resource.group/name` → whether the operator may, in its own namespace."""


class Cluster:
    """The chart's RBAC in force, and five users: two ServiceAccounts and three people."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.home, self.team = server.namespace("home"), server.namespace("team")
        rendered = render("--namespace", self.home, "--set", f"fullnameOverride={FULL_NAME}")
        for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
            for each in of_kind(rendered, kind):
                server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
        server.kubectl("apply", "-f", str(ROOT / "examples" / "role-jobs-only.yaml"), namespace=self.team)
        for who, role in {"view": "clusterrole=view", "edit": "clusterrole=edit", "jobs": "role=steno-jobs"}.items():
            server.kubectl("create", "rolebinding", who, f"--{role}", f"--user={who}", namespace=self.team)
        # The controller manager adds the chart's rules to the cluster's roles, a moment after they are there.
        wait_for("aggregation", lambda: self.may("edit", "create", "runtimepools", "steno.dev"), timeout=60)
        wait_for("aggregation", lambda: self.may("view", "get", "runtimepools", "steno.dev"), timeout=60)

    def may(self, who: str, verb: str, resource: str, group: str = "", **more: str) -> bool:
        """Ask the API server's authorizer."""
        accounts = {"operator": (self.home, f"{FULL_NAME}-operator"), "worker": (self.team, "default")}
        spec: dict[str, object] = {"user": who, "groups": ["system:authenticated"]}
        if who in accounts:
            namespace, name = accounts[who]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
            spec = {"user": f"system:serviceaccount:{namespace}:{name}", "groups": groups}
        attributes = {"namespace": self.team, "verb": verb, "resource": resource, "group": group, **more}
        review = {"spec": {**spec, "resourceAttributes": attributes}}
        answer = self.server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer.status == 201, answer.message
        return answer.body["status"]["allowed"]


@pytest.fixture(scope="module")
def cluster(controlplane: ApiServer) -> Cluster:
    return Cluster(controlplane)


def parse(question: str) -> tuple[str, str, str, str]:
    """Return verb, resource, group and what follows the slash."""
    verb, _, rest = question.partition(" ")
    resource, _, last = rest.partition("/")
    resource, _, group = resource.partition(".")
    return verb, resource, group, last


@pytest.mark.parametrize("question", TABLE)
def test_who_may_do_what(cluster: Cluster, question: str):
    verb, resource, group, subresource = parse(question)
    more = {"subresource": subresource, **({"namespace": ""} if resource in CLUSTER_SCOPED else {})}
    able = {who for who in WHO if cluster.may(who, verb, resource, group, **more)}
    assert able == set(TABLE[question].split())


@pytest.mark.parametrize("question", OWN)
def test_what_the_operator_may_do_at_home(cluster: Cluster, question: str):
    verb, resource, group, last = parse(question)
    part = "subresource" if last in ("exec", "token") else "name"
    assert cluster.may("operator", verb, resource, group, namespace=cluster.home, **{part: last}) is OWN[question]


def test_a_pod_of_steno_could_do_no_more_than_anybody(cluster: Cluster):
    """Workers and servers have no token for the API, and their ServiceAccount has no rights of Steno's."""

    def rules(name: str) -> list[dict]:
        token = cluster.server.service_account_token(cluster.team, name)
        review = {"spec": {"namespace": cluster.team}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        answer = type(cluster.server)(**{**vars(cluster.server), "token": token}).request("POST", path, review)
        return answer.body["status"]["resourceRules"]

    granted = {(verb, each) for rule in rules("default") for verb in rule["verbs"] for each in rule["resources"]}
    assert {verb for verb, _ in granted} == {"create"}
    assert {each for _, each in granted} == {
        "selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews",
    }  # fmt: skip


def test_view_and_edit_reach_cluster_scoped_resources_by_a_cluster_role_binding_alone(cluster: Cluster):
    """A RoleBinding in a namespace gives nothing on RuntimeProfiles and Tenants, a ClusterRoleBinding reads them."""
    cluster.server.kubectl("create", "clusterrolebinding", "viewer", "--clusterrole=view", "--user=viewer")
    assert cluster.may("viewer", "list", "tenants", "steno.dev")
    assert not cluster.may("viewer", "patch", "tenants", "steno.dev")
    assert not cluster.may("view", "list", "tenants", "steno.dev", namespace="")
