"""Landlock, the kernel's access control for processes without privileges: which files a sandboxed process may reach.

It also keeps the process from TCP connections (Linux 6.7), and from signals to others (6.12). Where the kernel has no
Landlock, or seccomp forbids it, the other limits of the sandbox remain.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, the same on every architecture."""
_CREATE_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Bits of the rights on files that an ABI version knows; later ones know 16."""
_LATEST_RIGHTS = 16
_TCP = 0b11
"""To bind and to connect."""
_SCOPES = 0b11
"""Abstract sockets and signals of processes outside."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/sys/fs/cgroup")
"""Libraries, fonts, time zones, and what a process may know of itself; not all of /proc, with others' arguments."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def version() -> int:
    """Return the ABI version of this kernel; 0 if there is none to use."""
    return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_VERSION))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Leave this process, which must have no new privileges, the interpreter's files and some others.

    Args:
        readable: files and folders that it may read as well.
        writable: files and folders that it may read and change.

    Raises:
        OSError: the kernel has Landlock and refuses.
    """
    abi = version()
    if not abi:
        return
    known = (1 << _RIGHTS.get(abi, _LATEST_RIGHTS)) - 1
    attributes = struct.pack("=Q", known)
    attributes += struct.pack("=Q", _TCP) if abi >= _TCP_SINCE else b""
    attributes += struct.pack("=Q", _SCOPES) if abi >= _SCOPES_SINCE else b""
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    code = [path for path in (sys.prefix, sys.base_prefix, *sys.path) if path not in ("", "/")]
    for path in {*_SYSTEM, *code, *readable}:
        _allow(ruleset, path, _READ & known)
    for path in _DEVICES:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & known)
    for path in writable:
        _allow(ruleset, path, known)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there needs no rule
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = _libc().syscall(number, *longs)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
