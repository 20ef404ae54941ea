"""The chart's life on a real API server: installed, upgraded, uninstalled; its permissions; its pods' security."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from charts.tests.helm import CHART, helm, of_kind, render
from hack.steps import wait_for
from steno_api.v1alpha1 import RESOURCES
from tests.support.apiserver import ApiServer, serve

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

NAMESPACE = "steno-system"
KINDS = [each.definition.crd_name for each in RESOURCES if each.definition.scope == "Namespaced"]
JOB = {
    "apiVersion": "steno.dev/v1alpha1",
    "kind": "TranscriptionJob",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {"source": {"uri": "s3://in/a.wav"}, "output": {"uri": "s3://out"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A control plane of its own, without Steno's definitions, whose release namespace enforces `restricted`."""
    with serve(controllers=True) as server:
        server.kubectl("create", "namespace", NAMESPACE)
        server.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield server


class Release:
    """Helm against one server."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        where = ("--kubeconfig", self.server.kubeconfig, "--namespace", NAMESPACE)
        return helm(*arguments, *where, check=check, home=self.server.folder / "helm").stdout

    def names(self, kind: str) -> set[str]:
        """Names of the objects of a kind, over all namespaces, that are marked as the release's."""
        found = self.server.kubectl("get", kind, "-A", "-l", "app.kubernetes.io/instance=steno", "-o", "name").stdout
        return {line.split("/", 1)[1] for line in found.split()}

    def profile(self, name: str) -> dict:
        return json.loads(self.server.kubectl("get", "runtimeprofile", name, "-o", "json").stdout)


@pytest.fixture(scope="module")
def release(server: ApiServer) -> Release:
    """The chart, installed."""
    release = Release(server)
    release("install", "steno", CHART)
    return release


def test_the_first_installation_brings_definitions_and_profiles(release: Release):
    assert release.names("crd") == {resource.definition.crd_name for resource in RESOURCES}
    assert release.names("runtimeprofile") == {"gpu", "cpu"}
    assert release.profile("gpu")["spec"]["accelerator"] == {"resource": "nvidia.com/gpu", "count": 1}
    assert release.names("deployment") == {"steno-operator"}


def test_pods_pass_the_restricted_standard(release: Release):
    (deployment,) = of_kind(render(), "Deployment")
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", **template["metadata"]},
        "spec": template["spec"],
    }
    apply = ("apply", "--dry-run=server", "-f", "-")
    release.server.kubectl(*apply, stdin=yaml.safe_dump(pod), namespace=NAMESPACE)
    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    refused = release.server.kubectl(*apply, stdin=yaml.safe_dump(pod), namespace=NAMESPACE, check=False)
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (("list", "transcriptionjobs.steno.dev", "-A"), True),
        (("delete", "transcriptionjobs.steno.dev", "-n", "default"), True),
        (("patch", "transcriptionjobs.steno.dev", "--subresource=status", "-n", "default"), True),
        (("patch", "transcriptionjobs.steno.dev", "-n", "default"), False),
        (("create", "transcriptionjobs.steno.dev", "-n", "default"), False),
        (("watch", "ocrjobs.steno.dev", "-A"), True),
        (("delete", "ocrjobs.steno.dev", "-n", "default"), True),
        (("patch", "ocrjobs.steno.dev", "--subresource=status", "-n", "default"), True),
        (("patch", "ocrjobs.steno.dev", "-n", "default"), False),
        (("watch", "streamsessions.steno.dev", "-A"), True),
        (("delete", "streamsessions.steno.dev", "-n", "default"), True),
        (("create", "streamsessions.steno.dev", "-n", "default"), False),
        (("create", "runtimepools.steno.dev", "-n", "default"), True),
        (("patch", "runtimepools.steno.dev", "-n", "default"), False),
        (("delete", "runtimepools.steno.dev", "-n", "default"), False),
        (("patch", "deployments.apps", "-n", "default"), True),
        (("delete", "deployments.apps", "-n", "default"), False),
        (("patch", "services", "-n", "default"), True),
        (("patch", "secrets", "-n", "default"), True),
        (("list", "secrets", "-n", "default"), False),
        (("get", "secrets/steno-operator-session-key", "-n", NAMESPACE), True),
        (("get", "secrets/steno-operator-session-key", "-n", "default"), False),
        (("get", "secrets/steno-operator-report-ca", "-n", NAMESPACE), True),
        (("watch", "runtimeprofiles.steno.dev"), True),
        (("create", "runtimeprofiles.steno.dev"), False),
        (("watch", "tenants.steno.dev"), True),
        (("patch", "tenants.steno.dev", "--subresource=status"), True),
        (("patch", "tenants.steno.dev"), False),
        (("create", "tenantquotas.steno.dev"), True),
        (("patch", "tenantquotas.steno.dev", "--subresource=status"), True),
        (("create", "jobs.batch", "-n", "default"), True),
        (("watch", "pods", "-A"), True),
        (("create", "pods", "-n", "default"), False),
        (("patch", "pods", "-n", "default"), False),
        (("patch", "pods", "-n", NAMESPACE), True),
        (("create", "events", "-n", "default"), True),
        (("create", "tokenreviews.authentication.k8s.io"), True),
        (("update", "leases.coordination.k8s.io/steno-operator", "-n", NAMESPACE), True),
        (("update", "leases.coordination.k8s.io/other", "-n", NAMESPACE), False),
        (("create", "leases.coordination.k8s.io", "-n", "default"), False),
        (("get", "secrets", "-n", NAMESPACE), False),
        (("get", "secrets", "-n", "default"), False),
        (("get", "configmaps", "-n", "default"), False),
        (("create", "pods", "--subresource=exec", "-n", "default"), False),
        (("patch", "customresourcedefinitions.apiextensions.k8s.io"), False),
    ],
    ids=lambda value: "-".join(value).replace("/", ".") if isinstance(value, tuple) else str(value),
)
def test_the_operator_may_do_its_work_and_no_more(release: Release, question, allowed):
    account = f"system:serviceaccount:{NAMESPACE}:steno-operator"
    answer = release.server.kubectl("auth", "can-i", f"--as={account}", *question, check=False).stdout.strip()
    assert answer.splitlines()[-1] == ("yes" if allowed else "no")


@pytest.mark.parametrize(
    ("role", "verb", "allowed"),
    [("view", "get", True), ("view", "create", False), ("edit", "create", True), ("admin", "delete", True)],
)
def test_the_clusters_own_roles_cover_jobs(release: Release, role: str, verb: str, allowed: bool):
    server, namespace = release.server, release.server.namespace()
    server.kubectl("create", "rolebinding", "r", f"--clusterrole={role}", "--user=ann", namespace=namespace)

    def can(verb: str) -> bool:
        answers = [
            server.kubectl("auth", "can-i", "--as=ann", verb, kind, namespace=namespace, check=False).stdout.split()[-1]
            for kind in KINDS
        ]
        assert len(set(answers)) == 1, "what one may do with one kind one may do with the others"
        return answers[0] == "yes"

    # The controller manager adds the chart's rules to the cluster's roles, a moment after they are there.
    wait_for(f"{role} may get jobs", lambda: can("get"), timeout=60)
    assert can(verb) == allowed


def test_the_operator_does_a_jobs_work_with_these_permissions(release: Release, tmp_path: Path):
    """The real operator, as the chart's ServiceAccount and with the chart's environment, starts a job and ends it."""
    server = release.server
    namespace = server.namespace()
    config = yaml.safe_load(server.kubeconfig.read_text())
    token = server.service_account_token(NAMESPACE, "steno-operator")
    config["users"] = [{**user, "user": {"token": token}} for user in config["users"]]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    (deployment,) = of_kind(render(), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    local = {"STENO_POD_NAME": "here", "STENO_POD_NAMESPACE": NAMESPACE, "STENO_LABEL_POD": "false"}
    ports = {"STENO_REPORT_PORT": "0", "STENO_PROBE_PORT": "0", "KUBECONFIG": str(tmp_path / "kubeconfig")}
    job = {**JOB, "metadata": {"name": "talk", "namespace": namespace}}
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", "from steno_operator.app import main; main()"]
        environment = {**os.environ, **given, **local, **ports}
        operator = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            server.kubectl("apply", "-f", "-", stdin=json.dumps(job))
            wait = ("wait", "tj/talk", "--timeout=60s")
            server.kubectl(*wait, "--for=condition=Admitted", namespace=namespace)
            server.kubectl("wait", "job/talk-1", "--for=create", "--timeout=60s", namespace=namespace)
            server.kubectl(
                "patch", "tj", "talk", "--type=merge", "-p", '{"spec":{"suspend":true}}', namespace=namespace
            )
            server.kubectl(*wait, "--for=condition=Suspended", namespace=namespace)
            events = ("events", "--for=tj/talk", "-o", "jsonpath={.items[*].reason}")
            wait_for("Events", lambda: server.kubectl(*events, namespace=namespace).stdout.strip() != "", timeout=30)
            server.kubectl("delete", "tj", "talk", "--timeout=60s", namespace=namespace)
            server.kubectl("wait", "job/talk-1", "--for=delete", "--timeout=60s", namespace=namespace)
        finally:
            operator.send_signal(signal.SIGTERM)
            operator.wait(60)
    assert "forbidden" not in (tmp_path / "log").read_text().lower()


def test_its_life(release: Release):
    """Upgrade, uninstall and a new installation: definitions follow the chart, jobs and user's objects stay."""
    server = release.server
    server.kubectl("apply", "-f", "-", stdin=json.dumps(JOB))
    uid = json.loads(server.kubectl("get", "tj", "kept", "-o", "json").stdout)["metadata"]["uid"]

    # An older definition and a profile edited by hand: an upgrade makes both what the chart says.
    shorter = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]
    crd = "transcriptionjobs.steno.dev"
    server.kubectl("patch", "crd", crd, "--type=json", "-p", json.dumps(shorter))
    release("upgrade", "steno", CHART, "--set=runtimeProfiles.gpu.accelerator.count=2,replicas=3", "--force-conflicts")
    columns = json.loads(server.kubectl("get", "crd", crd, "-o", "json").stdout)["spec"]["versions"][0]
    assert columns["additionalPrinterColumns"][0]["name"] == "Phase"
    assert release.profile("gpu")["spec"]["accelerator"]["count"] == 2
    manifest = [each["kind"] for each in yaml.safe_load_all(release("get", "manifest", "steno")) if each]
    assert manifest.count("RuntimeProfile") == 2, "profiles are ordinary parts of the release from the first upgrade on"

    release("uninstall", "steno")
    assert release.names("crd") == {resource.definition.crd_name for resource in RESOURCES}
    assert json.loads(server.kubectl("get", "tj", "kept", "-o", "json").stdout)["metadata"]["uid"] == uid
    for kind in ("runtimeprofile", "clusterrole", "clusterrolebinding", "role", "deployment", "service", "pdb", "sa"):
        assert release.names(kind) == set(), kind

    release("install", "steno", CHART, "--set=crds.keep=false")
    assert release.names("runtimeprofile") == {"gpu", "cpu"}
    release("uninstall", "steno", "--wait")
    assert release.names("crd") == set(), "with crds.keep=false everything goes, and nothing hangs on a finalizer"
