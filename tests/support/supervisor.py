"""Run the programs of one test control plane; stop them and delete their folder when the test process ends.

Started as `python supervisor.py FOLDER`. Each line of standard input is a JSON object `{"name", "command"}`: a program
to start, whose output goes to `FOLDER/<name>.log`. When standard input closes, because its owner asked or died in
whatever way, everything stops in reverse order and the folder is deleted. Programs that end on their own are left
ended: their owner notices.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PATIENCE_SECONDS = 3.0

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_supervisor() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def supervise(folder: Path) -> None:
    """Start the programs that standard input names until it closes; then stop them all and delete `folder`."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for line in sys.stdin:
            order = json.loads(line)
            with (folder / f"{order['name']}.log").open("ab") as log:
                processes.append(
                    subprocess.Popen(
                        order["command"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=folder,
                        # This process has one thread, so running Python between fork and exec is safe here.
                        preexec_fn=_die_with_supervisor,  # noqa: PLW1509
                    )
                )
    finally:
        for process in reversed(processes):
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Ctrl-C in the terminal is for the tests; they close our standard input when they are done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervise(Path(sys.argv[1]))
