"""A Docker daemon for machines that have none, and Debian as an image for machines that cannot pull one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from hack import docker
from hack.paths import cache_folder, locked, write_atomic
from hack.steps import MissingError, StepError, run, say, step, succeeds, wait_for

BASE = "steno/base:bookworm"
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
PACKAGES = ("docker.io", "iptables", "mmdebstrap", "ca-certificates", "pigz")
CAP_SYS_RESOURCE = 24


def ensure() -> None:
    """Make sure that a Docker daemon answers, installing and starting one where that is possible.

    Raises:
        MissingError: there is none and it cannot be had from here.
    """
    if docker.running():
        return
    with locked("docker"):
        if docker.running():
            return
        if os.geteuid() != 0:
            raise MissingError(
                "a running Docker daemon",
                "Start it (`sudo systemctl start docker`) and let this user use it (`sudo usermod -aG docker $USER`).",
            )
        if shutil.which("dockerd") is None:
            if shutil.which("apt-get") is None:
                raise MissingError("Docker", "Install it: https://docs.docker.com/engine/install/")
            with step("installing Docker from Debian's packages"):
                apt_install(PACKAGES)
        with step("starting dockerd"):
            _start()


def apt_install(packages: tuple[str, ...]) -> None:
    """Install Debian packages."""
    run(["apt-get", "update", "-qq"], timeout=300)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    run(command, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=900)


def _start() -> None:
    if (
        Path("/run/systemd/system").is_dir()
        and succeeds(["systemctl", "start", "docker"], timeout=90)
        and docker.running()
    ):
        return
    _clear_stale()
    home = cache_folder("docker")
    log = home / "dockerd.log"
    with log.open("w") as out:
        daemon = subprocess.Popen(
            ["dockerd", "--pidfile", "/run/docker.pid"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    write_atomic(home / "dockerd.pid", f"{daemon.pid}\n")
    deadline = time.monotonic() + 90
    while not docker.running():
        if daemon.poll() is not None or time.monotonic() > deadline:
            reason = [line for line in log.read_text(errors="replace").splitlines() if "level=info" not in line][-8:]
            what = f"dockerd did not start (log: {log}):\n" + "\n".join(f"    {line}" for line in reason)
            raise StepError(what)
        time.sleep(0.3)


def _clear_stale() -> None:
    """Remove what a daemon that was killed leaves behind and that would stop the next one."""
    containerd = Path("/run/docker/containerd/containerd.pid")
    orphan = _process(containerd, "containerd")
    if orphan:  # dockerd, which is gone, would have stopped it
        os.kill(orphan, signal.SIGTERM)
        wait_for("an orphaned containerd has stopped", lambda: not Path(f"/proc/{orphan}").exists(), timeout=20)
    for pid_file, program in ((containerd, "containerd"), (Path("/run/docker.pid"), "dockerd")):
        if not _process(pid_file, program):
            pid_file.unlink(missing_ok=True)


def _process(pid_file: Path, program: str) -> int | None:
    """Return the process that a pid file names, if that still is the program it was."""
    try:
        pid = int(pid_file.read_text().strip())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == program else None
    except (OSError, ValueError):
        return None


def ca_bundle() -> Path:
    """Return the file of CA certificates that this machine trusts."""
    for name in (os.environ.get("SSL_CERT_FILE"), CA_FILE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"):
        if name and Path(name).is_file():
            return Path(name)
    raise MissingError("CA certificates", "Install the package ca-certificates, or point SSL_CERT_FILE at a bundle.")


def base_image() -> str:
    """Return the tag of the image that ours are built from: Debian bookworm with this machine's CA certificates."""
    if docker.image_exists(BASE):
        return BASE
    with locked("base-image"):
        if not docker.image_exists(BASE):
            with step("making the base image (Debian bookworm)"):
                _make_base()
    return BASE


def _make_base() -> None:
    folder = cache_folder("docker", f"base-{os.getpid()}")
    try:
        source = "debian:bookworm-slim" if docker.pull("debian:bookworm-slim") else _bootstrapped(folder)
        shutil.copyfile(ca_bundle(), folder / "ca.crt")
        variables = " ".join(f"{name}={CA_FILE}" for name in CA_VARIABLES)
        (folder / "Dockerfile").write_text(
            f"FROM {source}\nRUN mkdir -p /etc/ssl/certs\nCOPY ca.crt {CA_FILE}\nENV {variables}\n"
        )
        (folder / ".dockerignore").write_text("*.tar\n")
        docker.build(BASE, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bootstrapped(folder: Path) -> str:
    """Make Debian from its own archive, for where no image can be pulled."""
    tag = "steno/debian:bookworm"
    if docker.image_exists(tag):
        return tag
    say("no registry of public images can be reached: taking Debian from its archive")
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise MissingError(
                "mmdebstrap",
                "Install it (`sudo apt-get install mmdebstrap`) or see that Docker can pull debian:bookworm-slim.",
            )
        apt_install(("mmdebstrap",))
    archive = folder / "base.tar"
    run(["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", archive], timeout=900)
    run(["docker", "import", archive, tag], timeout=300)
    archive.unlink()
    return tag


def lacks_sys_resource() -> bool:
    """Return whether this machine's root lacks CAP_SYS_RESOURCE, so that `--privileged` containers cannot start."""
    try:
        found = re.search(r"^CapBnd:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(found) and not int(found[1], 16) >> CAP_SYS_RESOURCE & 1
