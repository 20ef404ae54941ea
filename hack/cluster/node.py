"""The node's image: kind's own where it can be pulled, else built here from the pinned programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hack import docker, tools
from hack.paths import ROOT, cache_folder, locked
from hack.steps import output, run, step, succeeds, wait_for

ETCD_TAG = "3.6.6-0"
PAUSE_TAG = "3.10.1"
HERE = ROOT / "hack" / "cluster" / "node"
GROUPS = ("kubernetes", "etcd", "coredns", "cluster")
OURS = "steno/kind-node"

# What kube-proxy runs, with the libraries they link to.
_PROXY_FILES = """set -eu
f="/usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack"
x=$(echo /usr/lib/*/xtables)
l=$(for b in $f $x/*.so; do ldd "$b"; done | grep -o "/[^ ]*\\.so[^ ]*" | sort -u)
cd / && tar -ch $f $l "$x" 2>/dev/null"""


def image() -> str:
    """The node image's tag; it is pulled or built first when need be."""
    version = tools.version("kubernetes")
    official = f"kindest/node:{version}"
    tag = f"{OURS}:{_key()}"
    if docker.image_exists(tag):
        return tag
    if docker.pull(official):
        return official
    with locked("node-image"):
        if not docker.image_exists(tag):
            for group in GROUPS:
                tools.build(group)
            with step("building the node image"):
                _build(tag, version)
    return tag


def _key() -> str:
    files = [path for path in sorted(HERE.rglob("*")) if path.is_file()]
    programs = [tools.folder(group).name.encode() for group in GROUPS if group != "cluster"]
    sources = [path.read_bytes() for name in ("crictl", "pause") for path in sorted((HERE.parent / name).glob("*.go"))]
    return tools.key([*programs, *sources, Path(__file__).read_bytes(), *(path.read_bytes() for path in files)])


def _build(tag: str, version: str) -> None:
    work = cache_folder("docker", f"node-{os.getpid()}")
    try:
        base = docker.base_image()
        plain = f"{OURS}-base:{tag.rsplit(':', 1)[1]}"
        with step("the node's system"):
            _build_plain(plain, base, version, work / "node")
        with step("the control plane's images"):
            images = _control_plane(version, plain, work)
        with step("putting them into the node"):
            _preload(tag, plain, images)
        succeeds(["docker", "rmi", plain])
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build_plain(plain: str, base: str, version: str, folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    for name in ("kubeadm", "kubectl", "kubelet", "crictl"):
        shutil.copy2(tools.path(name), folder / "bin")
    shutil.copytree(HERE / "rootfs", folder / "rootfs")
    for script in ("kind/bin/render-cni", "usr/local/bin/entrypoint"):
        (folder / "rootfs" / script).chmod(0o755)
    (folder / "rootfs" / "kind" / "version").write_text(version + "\n")
    docker.build(plain, folder, dockerfile=HERE / "Dockerfile", build_args={"BASE": base})


def _control_plane(version: str, plain: str, work: Path) -> list[str]:
    programs = [(f"registry.k8s.io/{name}:{version}", name, f"/usr/local/bin/{name}") for name in
                ("kube-apiserver", "kube-controller-manager", "kube-scheduler")]  # fmt: skip
    programs += [
        (f"registry.k8s.io/etcd:{ETCD_TAG}", "etcd", "/usr/local/bin/etcd"),
        (f"registry.k8s.io/coredns/coredns:{tools.version('coredns')}", "coredns", "/coredns"),
        (f"registry.k8s.io/pause:{PAUSE_TAG}", "pause", "/pause"),
        (f"registry.k8s.io/kube-proxy:{version}", "kube-proxy", "/usr/local/bin/kube-proxy"),
    ]
    for tag, name, where in programs:
        folder = work / name
        (folder / "root" / where.lstrip("/")).parent.mkdir(parents=True)
        shutil.copy2(tools.path(name), folder / "root" / where.lstrip("/"))
        entry = f'ENTRYPOINT ["{where}"]\n'
        if name == "kube-proxy":
            _proxy_files(plain, folder / "root")
            entry = ""
        (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL dev.steno.build=1\nCOPY root/ /\n{entry}")
        docker.build(tag, folder)
    return [tag for tag, _, _ in programs]


def _proxy_files(plain: str, root: Path) -> None:
    archive = root.parent / "proxy.tar"
    listing = ["docker", "run", "--rm", "-i", "--entrypoint", "sh", "-v", f"{root.parent}:/out", plain, "-c"]
    run([*listing, _PROXY_FILES + " > /out/proxy.tar"])
    run(["tar", "-xf", archive, "-C", root])
    archive.unlink()
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (root / "usr/sbin" / f"{name}{suffix}").symlink_to("xtables-nft-multi")
    (root / "run").mkdir(exist_ok=True)


def _preload(tag: str, plain: str, images: list[str]) -> None:
    name = f"steno-preload-{os.getpid()}"
    options = ["-d", "--name", name, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"]
    run(["docker", "run", *options, "--entrypoint", "sleep", plain, "infinity"])
    try:
        run(["docker", "exec", "-d", name, "containerd"])
        ctr = ["docker", "exec", name, "ctr"]
        wait_for("containerd answers in the node image", lambda: succeeds([*ctr, "version"]), timeout=60)
        pipe = 'docker save "$@" | docker exec -i "$0" ctr -n k8s.io images import --no-unpack --all-platforms -'
        run(["bash", "-o", "pipefail", "-c", pipe, name, *images], timeout=600)
        listed = output([*ctr, "-n", "k8s.io", "images", "ls", "-q"])
        lost = [image for image in images if image not in listed.split()]
        if lost:
            msg = f"not in the node image: {lost}"
            raise RuntimeError(msg)
        clean = "pkill containerd; sleep 1; rm -rf /run/containerd /tmp/* /var/lib/containerd/tmpmounts/*"
        run(["docker", "exec", name, "sh", "-c", clean])
        entry = 'ENTRYPOINT ["/usr/local/bin/entrypoint","/lib/systemd/systemd"]'
        run(["docker", "commit", "-c", entry, "-c", "CMD []", name, tag], timeout=300)
    finally:
        succeeds(["docker", "rm", "-f", name])
    for image_tag in images:
        succeeds(["docker", "rmi", image_tag])
