"""Seccomp filter (libseccomp): a sandboxed process that makes a system call which no decoder needs is ended at once.

It has no sockets of any kind, starts no programs or processes, reaches no other process, and has no use of the parts of
the kernel that are attacked most. Pods have their runtime's filter anyway, which allows most of that. The numbers of
system calls on each architecture are libseccomp's to know: Debian has it wherever it has apt. Where the library or the
kernel lacks, the other limits of the sandbox remain.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os

_LIBRARY = "libseccomp.so.2"
_PR_GET_SECCOMP = 21
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
"""Comparisons of an argument (`enum scmp_compare`)."""
_ALLOW_SPECULATION, _OPTIMIZE, _BINARY_TREE = 7, 8, 2
"""Attributes of a filter: without the first, older kernels slow the whole process down, which no container's filter
does; the tree makes every call cheaper."""
_CLONE_THREAD = 0x10000

_NETWORK = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4")
_OTHER_PROCESSES = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open", "pidfd_getfd",
    "pidfd_send_signal", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
)  # fmt: skip
_KERNEL = (
    "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "fsopen", "fspick", "fsconfig", "fsmount",
    "move_mount", "open_tree", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "fanotify_init",
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "swapon", "swapoff", "acct", "quotactl", "syslog", "settimeofday", "clock_settime", "iopl", "ioperm", "modify_ldt",
    "personality",
)  # fmt: skip
_ABSENT = ("shmget", "semget", "msgget", "mq_open")
"""Libraries try these where others fail, and do without."""
_PROGRAMS = ("execve", "execveat", "fork", "vfork")
_SIGNALS = ("kill", "tgkill")


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def available() -> bool:
    """Tell whether the kernel filters system calls, and libseccomp is there to say which."""
    return _library() is not None and ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def restrict(*, programs: bool) -> None:
    """End this process, which must have no new privileges, as soon as it makes one of these system calls.

    Args:
        programs: whether it may start programs and end them; these are refused sockets.

    Raises:
        OSError: the kernel has filters and refuses this one.
    """
    library = _library()
    if library is None or not available():
        return
    rules = _Rules(library)
    for name in (*_OTHER_PROCESSES, *_KERNEL):
        rules.add(_KILL_PROCESS, name)
    for name in _NETWORK:  # programs look what there is: Tesseract's libcurl, when it tells its version
        rules.add(_ERRNO | errno.EPERM if programs else _KILL_PROCESS, name)
    for name in _ABSENT:
        rules.add(_ERRNO | errno.ENOSYS, name)
    if not programs:
        for name in _PROGRAMS:
            rules.add(_KILL_PROCESS, name)
        # Threads are clones, too. The arguments of clone3 are in memory, where no filter looks: without it, libc uses
        # clone instead.
        rules.add(_KILL_PROCESS, "clone", _Comparison(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
        rules.add(_ERRNO | errno.ENOSYS, "clone3")
        for name in _SIGNALS:
            rules.add(_KILL_PROCESS, name, _Comparison(0, _NOT_EQUAL, os.getpid(), 0))
    rules.load()


class _Rules:
    """A filter that allows everything but what is added."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._filter = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
        if not self._filter:
            raise OSError(errno.ENOMEM, "no filter of system calls")
        for attribute, value in ((_ALLOW_SPECULATION, 1), (_OPTIMIZE, _BINARY_TREE)):
            library.seccomp_attr_set(self._filter, attribute, value)  # older versions have neither

    def add(self, action: int, name: str, *comparisons: _Comparison) -> None:
        """Add an action for a system call with such arguments; one that this architecture lacks needs none."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            given = (_Comparison * len(comparisons))(*comparisons)
            self._check(
                self._library.seccomp_rule_add_array(
                    self._filter, ctypes.c_uint32(action), number, len(comparisons), given
                )
            )

    def load(self) -> None:
        """Apply the filter to this process."""
        self._check(self._library.seccomp_load(self._filter))
        self._library.seccomp_release(self._filter)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result))


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    return library
