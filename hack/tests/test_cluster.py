"""Names, ports and configuration of clusters."""

from __future__ import annotations

import pytest
import yaml

from hack.cluster import addons, config
from hack.cluster.config import Cluster
from hack.steps import StepError


def test_ports_follow_the_name_and_differ() -> None:
    demo, ci = Cluster("steno-demo"), Cluster("steno-ci")
    assert demo.api_port == Cluster("steno-demo").api_port
    ports = [port for cluster in (demo, ci) for port in (cluster.api_port, *cluster.port_mappings)]
    assert len(set(ports)) == len(ports)
    assert all(20000 <= port < 28000 for port in ports)


def test_the_kubeconfig_is_the_clusters_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(Cluster("steno-ci").kubeconfig) == "/elsewhere/steno/clusters/steno-ci/kubeconfig"


@pytest.mark.parametrize("name", ["", "Steno", "a_b", "-a", "a-", "a/b", "../x", "a" * 41])
def test_names_that_docker_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(StepError, match="not a cluster name"):
        Cluster(name)


def test_kind_gets_the_ports() -> None:
    cluster = Cluster("steno-demo")
    made = yaml.safe_load(config.kind_config(cluster))
    assert made["networking"]["apiServerPort"] == cluster.api_port
    mappings = {item["hostPort"]: item["containerPort"] for item in made["nodes"][0]["extraPortMappings"]}
    assert mappings == cluster.port_mappings
    assert mappings[cluster.s3_port] == config.S3_NODE_PORT
    assert all(yaml.safe_load(patch)["kind"] for patch in made["kubeadmConfigPatches"])


def test_kinds_configuration_is_good_as_it_is() -> None:
    made = yaml.safe_load(config.KIND_CONFIG.read_text())
    mappings = {item["hostPort"]: item["containerPort"] for item in made["nodes"][0]["extraPortMappings"]}
    assert mappings == {port: port for port in Cluster("steno-demo").port_mappings.values()}


def test_manifests_have_no_blanks_left() -> None:
    images = {"deviceplugin": "d:1", "provisioner": "p:1", "versitygw": "v:1"}
    for path in (addons.GPUS, addons.S3, addons.STORAGE):
        assert "${" not in addons.render(path.read_text(), images)
    with pytest.raises(KeyError):
        addons.render("${nothing}", images)
