"""kube-score on what the chart renders: security contexts, probes, limits, network policies, disruption."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from charts.tests.helm import VALUES, render
from hack import tools

pytestmark = pytest.mark.apiserver  # helm and kube-score have to be built

IGNORED = {
    # A limit of CPU throttles a leader whose memory and queue are bounded; its request is what it needs.
    "--ignore-container-cpu-limit",
    # Images are named by a version, a digest or, in development, by what was loaded into the node.
    "--ignore-test=container-image-pull-policy",
    # The Service of reports selects a label that the leader gives itself; `test_selectors_select_…` has the rest.
    "--ignore-test=service-targets-pod",
}
KNOWN = {"The pod does not have a matching egress NetworkPolicy"}
"""The operator only calls the API server, whose addresses a chart does not know."""
ADDED = {"--enable-optional-test=container-seccomp-profile"}
ONE_REPLICA = {"--min-replicas-deployment=1"}


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_kube_score_finds_nothing(values):
    objects = [each for each in render("--values", values) if each["kind"] != "CustomResourceDefinition"]
    words = ["score", "--kubernetes-version=v1.31", "--output-format=json", *IGNORED, *ADDED, *ONE_REPLICA, "-"]
    command = [str(tools.path("kube-score")), *words]
    done = subprocess.run(command, input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False)
    scored = json.loads(done.stdout)
    assert any(each["type_meta"]["kind"] == "Deployment" for each in scored), done.stderr
    found = {
        (each["object_name"], check["check"]["id"], summary)
        for each in scored
        for check in each["checks"] or ()
        if not check["skipped"] and check["grade"] < 7
        for summary in {comment["summary"] for comment in check["comments"] or ()} - KNOWN
    }
    assert found == set()
