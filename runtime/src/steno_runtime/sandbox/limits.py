"""Resource limits of a sandboxed process: rlimits that the kernel enforces, and sizes that the parent checks."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from steno_runtime.memory import free_memory
from steno_runtime.sandbox import landlock, seccomp

MIB = 1024**2

MEMORY_SHARE = 0.5
"""Of the pod's free memory, for one process; a server may have two of them, for a recording and for a document."""
MIN_MEMORY = 256 * MIB
"""Less decodes nothing."""
MAX_OPEN_FILES = 64


@dataclass(frozen=True)
class Limits:
    """What a sandboxed process may use.

    Attributes:
        memory: bytes of private memory beyond what the fork server has.
        cpu_seconds: of all its threads together, from its start to its end.
        seconds: of wall-clock time in all calls together, in which it works.
        file_bytes: of each file that it writes; 0: it can write none.
        value_bytes: of the JSON of one answer.
        array_bytes: of the arrays of one answer.
        readable: files and folders that it may read, beside the interpreter's own.
        writable: files and folders that it may read and change.
        programs: whether it may start programs.
    """

    memory: int
    cpu_seconds: int
    seconds: float
    file_bytes: int = 0
    value_bytes: int = 8 * MIB
    array_bytes: int = 0
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    programs: bool = False


def memory_budget(wanted: int) -> int:
    """Return the bytes that a process may have of those that it wants: no more than a share of what the pod has free.

    The pod's own limit is no help: a container that reaches it is killed as a whole.
    """
    return max(MIN_MEMORY, min(wanted, int(MEMORY_SHARE * free_memory())))


def enforce(limits: Limits) -> None:
    """Set the limits of this process, which it cannot raise again."""
    with contextlib.suppress(OSError):  # if memory ends all the same, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    landlock.restrict(limits.readable, limits.writable)
    _limit(resource.RLIMIT_DATA, limits.memory + _private_memory())
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, more=1)  # SIGXCPU at the first, SIGKILL at the second
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    seccomp.restrict(programs=limits.programs)


def _limit(which: int, value: int, *, more: int = 0) -> None:
    _, hard = resource.getrlimit(which)
    most = value + more if hard == resource.RLIM_INFINITY else min(value + more, hard)
    resource.setrlimit(which, (min(value, most), most))


def _private_memory() -> int:
    """Return the bytes of data that this process has mapped, as RLIMIT_DATA counts them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + os.sysconf("SC_PAGE_SIZE")
