"""Triton Inference Server with its Python backend, from a package (55 MB): for tests, not for production.

`python3 -m hack.triton` prints where it is. It is unpacked once into the cache, for the Python that asks.
"""

from __future__ import annotations

import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from hack import uv
from hack.paths import cache_folder, locked
from hack.steps import MissingError, main, run, step

PACKAGE = "nvidia-pytriton==0.7.0"
SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
_SERVER = Path("pytriton/tritonserver")


@dataclass(frozen=True)
class Triton:
    """An unpacked server, and the Python that its models run in."""

    folder: Path
    python: Path

    def command(self, repository: Path, *, port: int, certificate: Path | None = None) -> list[str]:
        """Return the command line of a server on loopback, with gRPC alone.

        Args:
            repository: a folder of models.
            port: of gRPC.
            certificate: a folder with `tls.crt` and `tls.key`; None: without TLS.
        """
        tls = (
            ()
            if certificate is None
            else (
                "--grpc-use-ssl=true",
                f"--grpc-server-cert={certificate / 'tls.crt'}",
                f"--grpc-server-key={certificate / 'tls.key'}",
            )
        )
        return [
            str(self.folder / _SERVER / "bin/tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={self.folder / _SERVER / 'backends'}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory(port)}",
            "--allow-http=false",
            "--allow-metrics=false",
            "--exit-timeout-secs=2",
            "--model-load-thread-count=1",  # their imports would only compete for the cores
            *tls,
        ]

    @staticmethod
    def shared_memory(port: int) -> str:
        """Return the prefix of a server's shared memory in `/dev/shm`, which it leaves there if it is killed."""
        return f"steno-triton-{port}-"

    def environment(self) -> dict[str, str]:
        """Return the variables by which the Python backend finds this Python's library and packages."""
        return {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        }


def installed() -> Triton:
    """Return the server, unpacked first when need be.

    Raises:
        MissingError: there is none for this machine, or this Python has no shared library.
    """
    if platform.machine() != "x86_64":
        raise MissingError("Triton", "Its package is for x86-64 only.")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        raise MissingError("Python's shared library", "Build Python with --enable-shared: Triton's backend links it.")
    name = f"triton-{SHA256[:16]}-{sys.version_info.major}.{sys.version_info.minor}"
    target = cache_folder("bin") / name
    with locked("build-triton"):
        if not target.is_dir():
            with step("Triton, from a package"):
                _unpack(target)
    return Triton(target, Path(sys.executable))


def _unpack(target: Path) -> None:
    draft = target.with_name(f".{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    wanted = draft / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    words = ["pip", "install", "-q", "--no-deps", "--require-hashes", "--target", draft, "-r", wanted]
    run([uv.path(), *words], env=uv.environment(), timeout=600)
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy2(draft / _SERVER / stub, draft / _SERVER / "backends/python")
    (draft / _SERVER / "bin/tritonserver").chmod(0o755)
    draft.rename(target)


def _main() -> None:
    print(installed().folder)


if __name__ == "__main__":
    sys.exit(main(_main))
