"""What names builds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hack import golang, steps, test, tools
from hack.paths import ROOT

GO_MOD = (
    "module x\n\nrequire k8s.io/kubernetes v1.35.4\n\nrequire (\n\tgithub.com/coredns/coredns v1.13.1 // indirect\n)\n"
)


def test_versions_are_read_from_go_mod() -> None:
    assert tools.pinned_version(GO_MOD, "k8s.io/kubernetes") == "v1.35.4"
    assert tools.pinned_version(GO_MOD, "github.com/coredns/coredns") == "v1.13.1"
    with pytest.raises(steps.StepError, match="does not require example"):
        tools.pinned_version(GO_MOD, "example.com/x")


def test_the_version_is_linked_in() -> None:
    flags = tools.linker_flags(tools.GROUPS["kubernetes"], GO_MOD)
    assert "version.gitVersion=v1.35.4" in flags
    assert "version.gitMinor=35" in flags


def test_a_key_depends_on_every_part_and_on_where_parts_end() -> None:
    keys = {tools.key(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"ab", b"d"])}
    assert len(keys) == 4
    assert tools.key([b"ab", b"c"]) == tools.key([b"ab", b"c"])


@pytest.mark.parametrize(
    ("package", "name"),
    [("go.etcd.io/etcd/server/v3", "server"), ("sigs.k8s.io/kind", "kind"), ("helm.sh/helm/v4/cmd/helm", "helm")],
)
def test_go_names_its_output(package: str, name: str) -> None:
    assert tools.go_output_name(package) == name


def test_every_group_pins_its_programs() -> None:
    for name, group in tools.GROUPS.items():
        go_mod = (ROOT / group.folder / "go.mod").read_text()
        assert (ROOT / group.folder / "go.sum").exists()
        if group.sources:
            assert all((ROOT / group.folder / program).is_dir() for program in group.programs)
            continue
        assert tools.version(name).startswith("v")
        assert all(f"{package}\n" in go_mod for package in group.programs.values())


def test_an_unknown_program_is_named() -> None:
    with pytest.raises(steps.StepError, match=r"no program 'kubctl'.*kubectl"):
        tools.path("kubctl")


def test_go_versions() -> None:
    assert golang.parse_version("go1.26.8") == (1, 26)
    assert golang.parse_version("devel +abc") is None


def test_the_go_module_of_the_cluster_is_of_the_pinned_kubernetes() -> None:
    staging = tools.version("kubernetes").replace("v1.", "v0.")
    go_mod = Path(ROOT / "hack" / "cluster" / "go.mod").read_text()
    assert tools.pinned_version(go_mod, "k8s.io/kubelet") == staging


def test_what_tests_run_is_built_before_them() -> None:
    folders = ("tests/support", "api/tests", "operator/tests", "runtime/tests", "client/tests", "charts/tests")
    texts = [file.read_text() for folder in folders for file in (ROOT / folder).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r'(?:tools\.path\(|"path", )"([\w-]+)"', text)}
    assert {"kube-apiserver", "kwok", "versitygw", "helm"} <= named
    assert {group for group, spec in tools.GROUPS.items() if named & set(spec.programs)} <= set(test.PROGRAMS)
