"""The parent's side of a sandboxed process: calls with time limits, and what it means if the child ends otherwise."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import json
import logging
import os
import pickle
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from steno_api.failures import FailureReason
from steno_api.sizes import format_bytes
from steno_runtime.errors import Check, WorkError
from steno_runtime.sandbox import frames, landlock, seccomp
from steno_runtime.sandbox.forkserver import STATUS, Request
from steno_runtime.sandbox.frames import ProtocolFault, Reply
from steno_runtime.sandbox.limits import Limits

log = logging.getLogger(__name__)
T = TypeVar("T")

_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")
"""What a child may know of its parent's environment; anything else could be a credential."""
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""Libraries that start threads when they are imported would make forking unsafe."""
_MAIN = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop())
from steno_runtime.sandbox.forkserver import main
main()
"""
_START_SECONDS = 120.0
"""For the fork server's imports on a cold and busy machine."""
_POLL_SECONDS = 0.1
"""How often a call asks whether it is to stop."""
_END_SECONDS = 5.0
_REASONS = frozenset(
    {
        FailureReason.UNSUPPORTED_MEDIA,
        FailureReason.ENCRYPTED,
        FailureReason.TOO_LARGE,
        FailureReason.INVALID_SPEC,
        FailureReason.INTERNAL,
    }
)
"""A child may say these of its input; others are not for it to say."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)


class SandboxFault(WorkError):  # noqa: N818 - a fault of the input
    """The child ended, or had to be ended, because of its input: a crash, a limit, or an answer that is none.

    Attributes:
        why: what happened, as a part of a sentence.
    """

    def __init__(self, reason: FailureReason, message: str, why: str = "") -> None:
        """Set the texts."""
        super().__init__(reason, message)
        self.why = why


class ForkServer:
    """A fork server of this process; started when it is needed, and again if it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._modules: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def prepare(self, *modules: str) -> None:
        """Start now, so that nobody has to wait later, and import `modules` in advance."""
        with self._lock:
            self._modules += [name for name in modules if name not in self._modules]
            self._ensure_started()

    def spawn(self, limits: Limits) -> tuple[socket.socket, socket.socket]:
        """Fork a child; return its channel, and the socket that says how it ended and whose closing kills it."""
        request = json.dumps(dataclasses.asdict(limits)).encode()
        with self._lock:
            for attempt in (1, 2):
                control = self._ensure_started()
                channel, child_channel = socket.socketpair()
                status, child_status = socket.socketpair()
                with child_channel, child_status:
                    try:
                        socket.send_fds(control, [request], [child_channel.fileno(), child_status.fileno()])
                    except OSError:  # it has just ended
                        channel.close()
                        status.close()
                        self._end()
                        if attempt == 2:
                            raise
                    else:
                        return channel, status
        raise AssertionError

    def close(self) -> None:
        """End it, and with it its children."""
        with self._lock:
            self._end()

    def _ensure_started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return self._control
        self._end()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            environment |= _SINGLE_THREADED | {"TMPDIR": tempfile.gettempdir(), "HOME": tempfile.gettempdir()}
            path = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100 - of what may be an archive
            log.info("starting the sandbox", extra={"landlock": landlock.version(), "seccomp": seccomp.available()})
            if not seccomp.available():
                log.warning("system calls of decoders are not filtered: libseccomp2 or the kernel's seccomp is missing")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _MAIN, str(control.fileno()), json.dumps(self._modules), json.dumps(path)],
                env=environment,
                pass_fds=[control.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # signals from a terminal are its parent's
                cwd="/",
            )
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None


_server = ForkServer()
prepare = _server.prepare
atexit.register(_server.close)


class SandboxedProcess:
    """A child process for one input. Its calls are made from one thread at a time."""

    def __init__(self, subject: str, limits: Limits) -> None:
        """Start it.

        Args:
            subject: what it reads, as the beginning of a sentence: `The PDF`.
            limits: what it may use.
        """
        self._subject = subject
        self._limits = limits
        self._worked = 0.0
        self._channel, self._status = _server.spawn(limits)
        self._channel.setblocking(False)
        deadline = time.monotonic() + _START_SECONDS
        try:
            self._receive(_Wait(deadline, f"{_START_SECONDS:.0f} s to start", check=lambda: None))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self,
        request: Request,
        *,
        seconds: float,
        check: Check = lambda: None,
        on_event: Callable[[Any], None] = lambda _: None,
    ) -> Reply:
        """Have the child do `request`, and return what it returns; the process is ended if that fails.

        Args:
            request: a `functools.partial` of a function of a module; it is called with a function that sends events.
            seconds: for which the child may say nothing; each event begins them anew.
            check: called before, and about every tenth of a second; raises to stop.
            on_event: called with each event: parsed JSON, which the child may have made up.

        Raises:
            SandboxFault: the child crashed, exceeded a limit, or broke the protocol.
            WorkError: the child says so of its input; `Internal`: it raised something unexpected.
        """
        check()
        started = time.monotonic()
        try:
            self._send(pickle.dumps(request))
            return self._answered(started, seconds, check, on_event)
        except ProtocolFault as error:
            self.close()
            raise self._fault(f"the process that reads it sent {error}") from error
        except BaseException as error:
            if isinstance(error, SandboxFault) or not isinstance(error, WorkError):  # else the child goes on
                self.close()
            raise
        finally:
            self._worked += time.monotonic() - started

    def _answered(self, started: float, seconds: float, check: Check, on_event: Callable[[Any], None]) -> Reply:
        while True:
            left = self._limits.seconds - self._worked - (time.monotonic() - started)
            spent = f"{seconds:.0f} s for one step" if seconds < left else f"{self._limits.seconds:.0f} s"
            wait = _Wait(time.monotonic() + min(seconds, left), spent, check)
            answer = self._receive(wait)
            match answer.kind:
                case "result":
                    arrays = [self._receive_array(wait, *shape) for shape in answer.shapes]
                    return Reply(answer.value, arrays, answer.size)
                case "failed":
                    raise self._failure(answer.value)
                case "raised":
                    raise self._unexpected(answer.value)
                case "event":
                    on_event(answer.value)
                case "ready":
                    raise ProtocolFault("an answer out of place")

    def checked(self, parse: Callable[[], T]) -> T:
        """Return what `parse` makes of an answer; if it cannot, the child has broken the protocol.

        Raises:
            SandboxFault: `parse` raised `ProtocolFault`, or what comes of values that are of another kind.
        """
        try:
            return parse()
        except (ProtocolFault, ValueError, TypeError, LookupError, AttributeError) as error:
            self.close()
            raise self._fault("the process that reads it sent something that cannot be") from error

    @property
    def closed(self) -> bool:
        """Whether it has ended, so that no call can be made any more."""
        return self._channel.fileno() < 0

    def close(self) -> None:
        """End the child, whatever it does."""
        self._channel.close()
        self._status.close()

    def _send(self, data: bytes) -> None:
        self._channel.settimeout(_START_SECONDS)
        try:
            self._channel.sendall(frames.HEADER.pack(len(data)) + data)
        except OSError as error:
            raise self._ended() from error
        finally:
            self._channel.setblocking(False)

    def _receive(self, wait: _Wait) -> frames.Answer:
        header = bytearray(frames.HEADER.size)
        self._fill(memoryview(header), wait)
        length = frames.HEADER.unpack(header)[0]
        if length > self._limits.value_bytes:
            size = format_bytes(self._limits.value_bytes)
            raise self._fault(f"what it contains is more than the {size} allowed at a time", FailureReason.TOO_LARGE)
        data = bytearray(length)
        self._fill(memoryview(data), wait)
        return frames.parse(bytes(data), self._limits.array_bytes)

    def _receive_array(self, wait: _Wait, dtype: str, shape: tuple[int, ...]) -> Any:
        import numpy as np

        array = np.empty(shape, dtype)
        if array.size:
            self._fill(array.data.cast("B"), wait)
        return array

    def _fill(self, view: memoryview, wait: _Wait) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while view:
            left = wait.deadline - time.monotonic()
            if left <= 0:
                raise self._fault(f"reading it takes longer than the {wait.spent} allowed")
            if not poll.poll(1000 * min(left, _POLL_SECONDS)):
                wait.check()
                continue
            try:
                count = self._channel.recv_into(view)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._ended() from error
            if not count:
                raise self._ended()
            view = view[count:]

    def _ended(self) -> SandboxFault:
        """Return why the child has ended."""
        self._status.settimeout(_END_SECONDS)
        data = b""
        with contextlib.suppress(OSError):
            data = self._status.recv(STATUS.size)
        code = os.waitstatus_to_exitcode(STATUS.unpack(data)[0]) if len(data) == STATUS.size else None
        log.warning("a sandboxed process ended early", extra={"exit_code": code})
        number = -code if code is not None and code < 0 else 0
        if number == signal.SIGXCPU:
            return self._fault(f"reading it takes more than the {self._limits.cpu_seconds} s of CPU time allowed")
        if number == signal.SIGSYS:
            return self._fault("the library that reads it asked the kernel for what reading does not need (SIGSYS)")
        if number == signal.SIGKILL or code is None:
            return self._out_of_memory()
        name = f" ({signal.Signals(number).name})" if number else ""
        return self._fault(f"the library that reads it crashed{name}")

    def _out_of_memory(self) -> SandboxFault:
        size = format_bytes(self._limits.memory)
        return self._fault(f"reading it takes more than the {size} of memory allowed", FailureReason.TOO_LARGE)

    def _fault(self, why: str, reason: FailureReason = FailureReason.UNSUPPORTED_MEDIA) -> SandboxFault:
        message = f"{self._subject} cannot be read: {why}. It is damaged or unusual: save it anew with another program."
        return SandboxFault(reason, message, why)

    def _failure(self, value: Any) -> WorkError:
        try:
            reason, message = FailureReason(value["reason"]), str(value["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolFault("a failure without a reason") from error
        if reason not in _REASONS:
            raise ProtocolFault("a failure that is not for it to say")
        return WorkError(reason, _CONTROL.sub(" ", message))

    def _unexpected(self, value: Any) -> WorkError:
        fields = value if isinstance(value, dict) else {}
        name = str(fields.get("type"))
        name = name if _IDENTIFIER.fullmatch(name) else "unknown"
        if name == "MemoryError":
            return self._out_of_memory()
        if fields.get("errno") == errno.EFBIG:
            size = format_bytes(self._limits.file_bytes)
            return self._fault(f"reading it writes more than the {size} allowed", FailureReason.TOO_LARGE)
        places = fields.get("where")
        where = [_CONTROL.sub(" ", str(place))[:200] for place in (places if isinstance(places, list) else [])[:20]]
        log.error("a sandboxed process raised an unexpected error", extra={"error": name, "where": where})
        return WorkError(
            FailureReason.INTERNAL,
            f"{self._subject} could not be read ({name}): a defect in Steno or its image. The pod's log has the "
            "details; please report it.",
        )


@dataclasses.dataclass(frozen=True)
class _Wait:
    """How long to wait for an answer, what that time is called, and whom to ask meanwhile."""

    deadline: float
    spent: str
    check: Check
