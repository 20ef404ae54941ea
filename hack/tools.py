"""Builds the pinned Go programs into the cache, once.

`python3 -m hack.tools build [GROUP…]` builds groups; `python3 -m hack.tools path NAME` prints where a program is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hack import golang, steps
from hack.paths import ROOT, cache_folder, locked


@dataclass(frozen=True)
class Group:
    """Programs built from one go.mod.

    Attributes:
        folder: the module's folder, relative to the repository's root.
        programs: program name → its Go package.
        module: the module whose version `variables` are given (its `{version}`, `{major}`, `{minor}`).
        variables: link-time variables, as `-X` takes them.
        sources: whether the module has code of its own that decides what is built.
    """

    folder: str
    programs: dict[str, str]
    module: str = ""
    variables: tuple[str, ...] = field(default=())
    sources: bool = False


_K8S = "k8s.io/component-base/version"
_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "kubectl",
)

GROUPS: dict[str, Group] = {
    "kubernetes": Group(
        "tools/kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES},
        "k8s.io/kubernetes",
        (
            f"{_K8S}.gitVersion={{version}}",
            f"{_K8S}.gitMajor={{major}}",
            f"{_K8S}.gitMinor={{minor}}",
            f"{_K8S}.gitTreeState=clean",
        ),
    ),
    "etcd": Group("tools/etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, "go.etcd.io/etcd/server/v3"),
    "coredns": Group("tools/coredns", {"coredns": "github.com/coredns/coredns"}, "github.com/coredns/coredns"),
    "kind": Group("tools/kind", {"kind": "sigs.k8s.io/kind"}, "sigs.k8s.io/kind"),
    "helm": Group(
        "tools/helm",
        {"helm": "helm.sh/helm/v4/cmd/helm"},
        "helm.sh/helm/v4",
        ("helm.sh/helm/v4/internal/version.version={version}",),
    ),
    "versitygw": Group(
        "tools/versitygw",
        {"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
        "github.com/versity/versitygw",
        ("main.Version={version}",),
    ),
    "registry": Group(
        "tools/registry",
        {"registry": "github.com/distribution/distribution/v3/cmd/registry"},
        "github.com/distribution/distribution/v3",
        ("github.com/distribution/distribution/v3/version.version={version}",),
    ),
    "kwok": Group(
        "tools/kwok",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        "sigs.k8s.io/kwok",
    ),
    "cluster": Group(
        "hack/cluster",
        {name: f"steno.dev/hack/cluster/{name}" for name in ("crictl", "pause", "deviceplugin", "provisioner")},
        sources=True,
    ),
}

KEPT_SECONDS = 14 * 24 * 3600
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def pinned_version(go_mod: str, module: str) -> str:
    """The version a go.mod's text requires of a module, such as `v1.35.4`."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if not found:
        msg = f"go.mod does not require {module}"
        raise steps.StepError(msg)
    return found[1]


def version(group: str) -> str:
    """The pinned version of a group's module."""
    spec = GROUPS[group]
    return pinned_version((ROOT / spec.folder / "go.mod").read_text(), spec.module)


def linker_flags(spec: Group, go_mod: str) -> str:
    """The value of `-ldflags` for a group."""
    words = ["-s", "-w"]
    if spec.variables:
        pinned = pinned_version(go_mod, spec.module)
        major, minor, *_ = pinned.lstrip("v").split(".")
        words += [f"-X {text.format(version=pinned, major=major, minor=minor)}" for text in spec.variables]
    return " ".join(words)


def key(parts: Sequence[bytes]) -> str:
    """A short name for what goes into a build; any change of any part changes it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def folder(group: str) -> Path:
    """Where a group's programs are once built."""
    spec = GROUPS[group]
    home = ROOT / spec.folder
    files = [home / "go.mod", home / "go.sum"]
    if spec.sources:
        files += sorted(home.rglob("*.go"))
    go_mod = (home / "go.mod").read_text()
    parts = [
        repr((sorted(spec.programs.items()), linker_flags(spec, go_mod), golang.machine())).encode(),
        golang.go_version().encode(),
        *(path.read_bytes() for path in files),
    ]
    return cache_folder("bin") / f"{group}-{key(parts)}"


def build(group: str) -> Path:
    """Builds a group unless that is done already; returns its folder."""
    target = folder(group)
    if target.is_dir():
        os.utime(target)
        return target
    with locked(f"build-{group}"):
        if not target.is_dir():
            spec = GROUPS[group]
            names = ", ".join(spec.programs) if len(spec.programs) < 4 else f"{len(spec.programs)} programs of {group}"
            with steps.step(f"building {names}"):
                _build(spec, target)
            _forget_old(group, target.parent)
    os.utime(target)
    return target


def _forget_old(group: str, home: Path) -> None:
    """Removes a group's builds that no checkout has used for a while."""
    for old in home.glob(f"{group}-{'?' * 16}"):
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def _build(spec: Group, target: Path) -> None:
    home = ROOT / spec.folder
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    flags = linker_flags(spec, (home / "go.mod").read_text())
    command = [
        golang.go(),
        "build",
        "-mod=readonly",
        "-buildvcs=false",
        "-trimpath",
        "-ldflags",
        flags,
        "-o",
        f"{draft}/",
    ]
    try:
        steps.run([*command, *spec.programs.values()], cwd=home, env=ENVIRONMENT)
        for name, package in spec.programs.items():
            built = draft / go_output_name(package)
            if built.name != name:
                built.rename(draft / name)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def go_output_name(package: str) -> str:
    """What `go build` calls a package's program: the last part of its path that is no version."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def path(name: str) -> Path:
    """A program's path; it is built first when need be."""
    for group, spec in GROUPS.items():
        if name in spec.programs:
            return build(group) / name
    known = ", ".join(sorted(program for spec in GROUPS.values() for program in spec.programs))
    msg = f"no program {name!r}: there are {known}"
    raise steps.StepError(msg)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="hack.tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build groups (default: all)")
    builder.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    commands.add_parser("path", help="print a program's path").add_argument("name")
    arguments = parser.parse_args()
    if arguments.command == "path":
        print(path(arguments.name))
        return 0
    unknown = [name for name in arguments.groups if name not in GROUPS]
    if unknown:
        msg = f"no group {', '.join(unknown)}: there are {', '.join(GROUPS)}"
        raise steps.StepError(msg)
    for group in arguments.groups or GROUPS:
        build(group)
    return 0


if __name__ == "__main__":
    sys.exit(steps.main(_main))
