"""The node's image, built from pinned programs where `kindest/node` cannot be pulled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hack import docker
from hack.airgapped import dockerd, packaged, programs
from hack.paths import ROOT, cache_folder, locked
from hack.steps import StepError, output, run, side_by_side, step, succeeds, wait_for

ETCD_TAG = "3.6.6-0"
PAUSE_TAG = "3.10.1"
HERE = ROOT / "hack" / "airgapped" / "node"
REPOSITORY = "steno/kind-node"
LABEL = "LABEL dev.steno.build=1"

# What kube-proxy runs, with the libraries they link to.
_PROXY_FILES = """set -eu
f="/usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack"
x=$(echo /usr/lib/*/xtables)
l=$(for b in $f $x/*.so; do ldd "$b"; done | grep -o "/[^ ]*\\.so[^ ]*" | sort -u)
cd / && tar -ch $f $l "$x" 2>/dev/null"""


def image() -> str:
    """Return the node image's tag; it is built first when need be."""
    tag = f"{REPOSITORY}:{_key()}"
    if docker.image_exists(tag):
        return tag
    with locked("node-image"):
        if not docker.image_exists(tag):
            side_by_side(lambda: programs.build("kubernetes"), lambda: programs.build(packaged.KUBECTL), _build_system)
            with step("building the node image"):
                _build(tag, programs.version("kubernetes"))
    return tag


def _key() -> str:
    files = [path for path in sorted(HERE.rglob("*")) if path.is_file()]
    made = [programs.folder(group).name.encode() for group in ("kubernetes", packaged.KUBECTL)]
    return programs.key([*made, Path(__file__).read_bytes(), *(path.read_bytes() for path in files)])


def _build_system() -> None:
    """Build the stage that needs none of the programs, while those are compiled."""
    base = dockerd.base_image()
    with step("the node's system"):
        docker.build(f"{REPOSITORY}-system", HERE, build_args={"BASE": base}, target="system")


def _build(tag: str, version: str) -> None:
    work = cache_folder("docker", f"node-{os.getpid()}")
    try:
        base = dockerd.base_image()
        plain = f"{REPOSITORY}-base:{tag.rsplit(':', 1)[1]}"
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
    for name in ("kubernetes", "kubectl", "crictl"):
        shutil.copy2(programs.path(name), folder / "bin")
    for name in ("kubelet", "kubeadm"):
        (folder / "bin" / name).symlink_to("kubernetes")
    shutil.copytree(HERE / "rootfs", folder / "rootfs")
    for script in ("kind/bin/render-cni", "usr/local/bin/entrypoint"):
        (folder / "rootfs" / script).chmod(0o755)
    (folder / "rootfs" / "kind" / "version").write_text(version + "\n")
    docker.build(plain, folder, dockerfile=HERE / "Dockerfile", build_args={"BASE": base})


def _control_plane(version: str, plain: str, work: Path) -> list[str]:
    """Build the images that kubeadm asks for; all but pause share the layer that has the one program."""
    common = f"{REPOSITORY}-programs:{plain.rsplit(':', 1)[1]}"
    (work / "common").mkdir()
    shutil.copy2(programs.path("kubernetes"), work / "common")
    (work / "common" / "Dockerfile").write_text(f"FROM scratch\n{LABEL}\nCOPY kubernetes /usr/local/bin/\n")
    docker.build(common, work / "common")
    images = {
        f"registry.k8s.io/kube-apiserver:{version}": "/usr/local/bin/kube-apiserver",
        f"registry.k8s.io/kube-controller-manager:{version}": "/usr/local/bin/kube-controller-manager",
        f"registry.k8s.io/kube-scheduler:{version}": "/usr/local/bin/kube-scheduler",
        f"registry.k8s.io/kube-proxy:{version}": "/usr/local/bin/kube-proxy",
        f"registry.k8s.io/etcd:{ETCD_TAG}": "/usr/local/bin/etcd",
        f"registry.k8s.io/coredns/coredns:{programs.version('coredns')}": "/coredns",
        f"registry.k8s.io/pause:{PAUSE_TAG}": "/pause",
    }
    for tag, where in images.items():
        name = where.rsplit("/", 1)[1]
        folder = work / name
        program = folder / "root" / where.lstrip("/")
        program.parent.mkdir(parents=True)
        if name == "pause":
            shutil.copy2(programs.path(name), program)
        else:
            program.symlink_to("/usr/local/bin/kubernetes")
        if name == "kube-proxy":
            _proxy_files(plain, folder / "root")
        lines = [f"FROM {'scratch' if name == 'pause' else common}", LABEL, "COPY root/ /", f'ENTRYPOINT ["{where}"]']
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        docker.build(tag, folder)
    succeeds(["docker", "rmi", common])
    return list(images)


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
            raise StepError(f"not in the node image: {lost}")
        clean = "pkill containerd; sleep 1; rm -rf /run/containerd /tmp/* /var/lib/containerd/tmpmounts/*"
        run(["docker", "exec", name, "sh", "-c", clean])
        entry = 'ENTRYPOINT ["/usr/local/bin/entrypoint","/lib/systemd/systemd"]'
        run(["docker", "commit", "-c", entry, "-c", "CMD []", name, tag], timeout=300)
    finally:
        succeeds(["docker", "rm", "-f", name])
    for image_tag in images:
        succeeds(["docker", "rmi", image_tag])
