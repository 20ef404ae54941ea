"""A real clamd with one signature, that of the EICAR test file: ClamAV's own database is not needed."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""In two parts, so that scanners do not find this file."""
SECONDS = 60.0


@contextmanager
def running(folder: Path, *, max_bytes: int = 1_000_000) -> Iterator[str]:
    """Run clamd; yield its `host:port`.

    Args:
        folder: for its configuration and database.
        max_bytes: of a stream that it accepts.
    """
    database = folder / "database"
    database.mkdir(parents=True)
    (database / "test.hdb").write_text(f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Eicar-Test\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "clamd.conf"
    config.write_text(
        f"TCPAddr 127.0.0.1\nTCPSocket {port}\nDatabaseDirectory {database}\nForeground yes\n"
        f"StreamMaxLength {max_bytes}\nTemporaryDirectory {folder}\nMaxThreads 4\n"
    )
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(["/usr/sbin/clamd", "-c", config], stdout=log, stderr=log) as process:
        try:
            _wait(port, process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.sendall(b"zPING\0")
                if probe.recv(64) == b"PONG\0":
                    return
        except OSError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
