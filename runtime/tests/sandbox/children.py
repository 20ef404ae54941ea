"""What children of the sandbox do in its tests."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.sandbox import Emit, Reply
from steno_runtime.sandbox.frames import HEADER

CHANNEL = 3


def double(emit: Emit, *, number: int) -> Reply:
    emit({"half": number / 2})
    return Reply(2 * number)


def ramp(_emit: Emit, *, count: int) -> Reply:
    return Reply("ramp", [np.arange(count, dtype=np.float32), np.full((2, 3, 3), 7, np.uint8)])


def look_around(_emit: Emit) -> Reply:
    """What a child that was taken over would look for."""
    return Reply(
        {
            "environment": dict(os.environ),
            "initial": Path("/proc/self/environ").read_bytes().decode(errors="replace"),
            "descriptors": [int(name) for name in os.listdir("/proc/self/fd")],  # noqa: PTH208
            "targets": {name: _target(name) for name in os.listdir("/proc/self/fd")},  # noqa: PTH208
            "no_new_privs": "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
            "pid": os.getpid(),
            "server": os.getppid(),
        }
    )


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
    except OSError:
        return "gone"


def crash(_emit: Emit) -> Reply:
    ctypes.string_at(0)
    return Reply()


def abort(_emit: Emit) -> Reply:
    os.abort()


def leave(_emit: Emit) -> Reply:
    os._exit(0)


def eat_memory(_emit: Emit) -> Reply:
    return Reply(len([np.ones(1 << 20) for _ in range(1 << 20)]))


def eat_memory_in_c(_emit: Emit) -> Reply:
    """Allocate as PDFium does, which aborts when there is no more."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while libc.malloc(ctypes.c_size_t(1 << 20)):
        pass
    os.abort()


def spin(_emit: Emit) -> Reply:
    while True:
        pass


def sleep(emit: Emit, *, seconds: float, times: int = 1) -> Reply:
    for _ in range(times):
        time.sleep(seconds)
        emit(None)
    return Reply()


def write(_emit: Emit, *, path: str, count: int) -> Reply:
    with Path(path).open("wb") as file:
        file.writelines(bytes(1 << 20) for _ in range(count))
    return Reply()


def attempt_open(_emit: Emit, *, path: str, mode: str) -> Reply:
    """What becomes of opening a file."""
    try:
        with open(path, mode):  # noqa: PTH123 - as a decoder would
            return Reply("opened")
    except OSError as error:
        return Reply(type(error).__name__)


_LIBC = ctypes.CDLL(None, use_errno=True)
OF_NETWORKS: dict[str, Callable[[], object]] = {
    "a TCP socket": lambda: socket.create_connection(("127.0.0.1", 9), timeout=5),
    "a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a pair of sockets": socket.socketpair,
}
"""What a child that was taken over would try; each of these ends it, or is refused where it may start programs."""
TRESPASSES: dict[str, Callable[[], object]] = {
    "tracing": lambda: _LIBC.ptrace(0, 0, 0, 0),
    "the memory of others": lambda: _LIBC.process_vm_readv(os.getppid(), None, 0, None, 0, 0),
    "a mount": lambda: _LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "namespaces": lambda: _LIBC.unshare(0x10000000),
    "io_uring": lambda: _LIBC.syscall(425, 1, None),
    "a message to its log": lambda: _LIBC.klogctl(10, None, 0),
}
"""The same; these always end it."""
OF_PROGRAMS: dict[str, Callable[[], object]] = {
    "a program": lambda: os.execv("/bin/true", ["true"]),
    "another process": os.fork,
    "a program beside it": lambda: subprocess.run(["/bin/true"], check=True),
    "a signal to its parent": lambda: os.kill(os.getppid(), 0),
}
"""The same; these are allowed where the limits say so."""


def trespass(_emit: Emit, *, how: str) -> Reply:
    """Try what no decoder does."""
    try:
        (OF_NETWORKS | TRESPASSES | OF_PROGRAMS)[how]()
    except OSError as error:
        return Reply(type(error).__name__)
    return Reply("done")


def kill_itself(_emit: Emit) -> Reply:
    """As a library does whose memory is damaged."""
    os.kill(os.getpid(), signal.SIGBUS)
    return Reply()


def use_threads(_emit: Emit) -> Reply:
    """What decoders do."""
    done: list[int] = []
    threads = [threading.Thread(target=done.append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Reply(sorted(done))


def share_memory(_emit: Emit) -> Reply:
    """What becomes of memory that System V shares between processes."""
    return Reply([_LIBC.shmget(0, 4096, 0o600), ctypes.get_errno()])


def run_program(_emit: Emit) -> Reply:
    return Reply(subprocess.run(["/bin/echo", "hello"], capture_output=True, check=True, text=True).stdout)


def fail(_emit: Emit, *, reason: FailureReason, message: str) -> Reply:
    raise WorkError(reason, message)


def stumble(_emit: Emit) -> Reply:
    raise ZeroDivisionError("something of the document")


def say(_emit: Emit, *, data: bytes, length: int | None = None) -> Reply:
    """Send whatever it likes to the parent."""
    with socket.socket(fileno=os.dup(CHANNEL)) as sock:
        sock.sendall(HEADER.pack(len(data) if length is None else length) + data)
    time.sleep(60)
    return Reply()


def answer(kind: str, value: Any, arrays: Any) -> bytes:
    return json.dumps({"kind": kind, "value": value, "arrays": arrays}).encode()
