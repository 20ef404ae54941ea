"""What names builds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hack import airgapped, steps, test, tools
from hack.airgapped import golang, packaged, programs
from hack.paths import ROOT

GO_MOD = (
    "module x\n\nrequire k8s.io/kubernetes v1.35.4\n\nrequire (\n\tgithub.com/coredns/coredns v1.13.1 // indirect\n)\n"
)


def test_versions_are_read_from_go_mod() -> None:
    assert programs.pinned_version(GO_MOD, "k8s.io/kubernetes") == "v1.35.4"
    assert programs.pinned_version(GO_MOD, "github.com/coredns/coredns") == "v1.13.1"
    with pytest.raises(steps.StepError, match="does not require example"):
        programs.pinned_version(GO_MOD, "example.com/x")


def test_the_version_is_linked_in() -> None:
    flags = programs.linker_flags(programs.GROUPS["kubernetes"], GO_MOD)
    assert "version.gitVersion=v1.35.4" in flags
    assert "version.gitMinor=35" in flags


def test_a_key_depends_on_every_part_and_on_where_parts_end() -> None:
    keys = {programs.key(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"ab", b"d"])}
    assert len(keys) == 4
    assert programs.key([b"ab", b"c"]) == programs.key([b"ab", b"c"])


@pytest.mark.parametrize(
    ("package", "name"),
    [("go.etcd.io/etcd/server/v3", "server"), ("sigs.k8s.io/kind", "kind"), ("helm.sh/helm/v4/cmd/helm", "helm")],
)
def test_go_names_its_output(package: str, name: str) -> None:
    assert programs.go_output_name(package) == name


def test_every_group_pins_its_programs() -> None:
    for name, group in programs.GROUPS.items():
        go_mod = (ROOT / group.folder / "go.mod").read_text()
        assert (ROOT / group.folder / "go.sum").exists()
        assert programs.pinned_version(go_mod, group.module).startswith("v")
        for program, package in group.programs.items():
            here = (ROOT / group.folder / package).is_dir()
            assert here if package.startswith("./") else f"{package}\n" in go_mod, (name, program)


def test_go_versions() -> None:
    assert golang.parse_version("go1.26.8") == (1, 26)
    assert golang.parse_version("devel +abc") is None


def test_every_part_of_the_cluster_is_of_one_kubernetes() -> None:
    assert programs.version("kubernetes") == airgapped.NODE_VERSION
    staging = airgapped.NODE_VERSION.replace("v1.", "v0.")
    go_mod = (ROOT / programs.GROUPS["kubernetes"].folder / "go.mod").read_text()
    assert programs.pinned_version(go_mod, "k8s.io/kubelet") == staging
    assert airgapped.NODE_VERSION.split(".")[1] in packaged.PACKAGE


def test_a_program_that_fits_is_taken_from_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(version: str) -> bool:
        (tmp_path / "helm").write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / "helm").chmod(0o755)
        return tools._installed("helm") == tmp_path / "helm"

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert installed("v3.19.0")
    assert installed("v4.1.4")
    assert not installed("v2.17.0")
    assert tools._installed("versitygw") is None


def test_the_assets_of_envtest_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    tools.path.cache_clear()
    assert tools.path("etcd") == tmp_path / "etcd"
    tools.path.cache_clear()


def test_what_tests_run_is_built_before_them() -> None:
    folders = (
        "tests/support",
        "api/tests",
        "queues/tests",
        "operator/tests",
        "runtime/tests",
        "client/tests",
        "charts/tests",
    )
    texts = [file.read_text() for folder in folders for file in (ROOT / folder).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r'(?:tools\.path\(|"path", )"([\w-]+)"', text)}
    assert {"kube-apiserver", "kwok", "versitygw", "helm"} <= named
    assert {group for group in programs.ALL_GROUPS if named & set(programs.programs(group))} <= set(test.PROGRAMS)


@pytest.mark.slow
def test_the_device_plugin_and_the_provisioner_pass_their_own_tests() -> None:
    home = ROOT / programs.GROUPS["kubernetes"].folder
    flags = ["-mod=readonly", "-trimpath", *programs.COMPILER_FLAGS, "-count=1"]
    steps.run([golang.go(), "test", *flags, "./deviceplugin", "./provisioner"], cwd=home, env=programs.ENVIRONMENT)
