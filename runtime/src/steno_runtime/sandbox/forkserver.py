"""Fork server (zygote): a bare interpreter with the decoders imported, which forks a child for each input.

It is started with an environment of its own, so that neither it nor its children ever had the parent's credentials in
memory, and it has a single thread, so that forking is safe. Children end with it, and it ends with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from steno_runtime.errors import WorkError
from steno_runtime.sandbox import frames, seccomp
from steno_runtime.sandbox.frames import Reply
from steno_runtime.sandbox.limits import Limits, enforce

Emit = Callable[[Any], None]
"""Sends the parent something while a call goes on: anything that JSON can say."""
Request = Callable[[Emit], Reply]
"""A call: a `functools.partial` of a module's function, which can be pickled."""

STATUS = struct.Struct("!i")
"""How a child ended: its wait status."""
MAX_REQUEST_BYTES = 64 * 1024
_CHANNEL = 3
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_FRAMES_OF_TRACEBACK = 12


def main() -> NoReturn:
    """Serve until the parent closes the control socket: descriptor `argv[1]`; `argv[2]` has the modules to import."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent may take its signals with a thread of its own
    seccomp.available()  # loads the library, which children may not find any more
    for name in json.loads(sys.argv[2]):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pages that the collector does not write to stay shared
    try:
        _Server(control).serve()
    finally:
        os._exit(0)


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        """How each child ended is said here; a parent that closes its end wants the child to be killed."""
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            poll.register(self._wake, select.POLLIN)
            for status in self._children.values():
                poll.register(status, select.POLLIN)
            ready = {number for number, _ in poll.poll()}
            for pid, status in self._children.items():
                if status.fileno() in ready:
                    os.kill(pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            self._reap()
            if self._control.fileno() in ready and not self._fork():
                return

    def _reap(self) -> None:
        while self._children:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            status = self._children.pop(pid)
            with contextlib.suppress(OSError), status:
                status.send(STATUS.pack(code))

    def _fork(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, MAX_REQUEST_BYTES, 2)
        if not data:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)
            return False
        channel, status = fds
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _run_child(channel, Limits(**json.loads(data)), server)
        os.close(channel)
        self._children[pid] = socket.socket(fileno=status)
        return True


def _run_child(channel: int, limits: Limits, server: int) -> NoReturn:
    code = 1
    try:
        _confine(channel, limits, server)
        sock = socket.socket(fileno=_CHANNEL)
        frames.send(sock, "ready", Reply())
        while (request := _receive(sock)) is not None:
            _answer(sock, request)
        code = 0
    finally:
        os._exit(code)


def _confine(channel: int, limits: Limits, server: int) -> None:
    """Leave the child one descriptor, no way to more privileges, and its limits."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    moved = os.dup(channel)  # which may have the number of what it is copied to
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.dup2(moved, _CHANNEL)
    os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
    enforce(limits)


def _receive(sock: socket.socket) -> Request | None:
    header = _read(sock, frames.HEADER.size)
    return pickle.loads(_read(sock, frames.HEADER.unpack(header)[0])) if header else None  # noqa: S301 - the parent's


def _read(sock: socket.socket, count: int) -> bytes:
    """Return as many bytes; none, if the parent has closed the socket."""
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)


def _answer(sock: socket.socket, request: Request) -> None:
    try:
        reply = request(lambda value: frames.send(sock, "event", Reply(value)))
    except WorkError as error:
        frames.send(sock, "failed", Reply({"reason": error.reason, "message": error.message}))
    except Exception as error:  # noqa: BLE001 - the parent decides what it means
        number = error.errno if isinstance(error, OSError) else None
        frames.send(sock, "raised", Reply({"type": type(error).__name__, "errno": number, "where": _where(error)}))
    else:
        frames.send(sock, "result", reply)


def _where(error: BaseException) -> list[str]:
    """Return the places of a traceback, without values."""
    places: list[str] = []
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        places.append(f"{code.co_filename}:{frame.tb_lineno} {code.co_name}")
        frame = frame.tb_next
    return places[-_FRAMES_OF_TRACEBACK:]
