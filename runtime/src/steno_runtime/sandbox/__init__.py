"""Sandbox for untrusted bytes: a child process for each document and media file, as browsers have one for each tab.

Decoders are large, written in C, and fed by strangers. Only they are inside: bytes go in; samples, pixels and text come
out. Models are not, so that nothing is loaded twice, and neither are the network, credentials and other inputs.

- A *fork server* (`forkserver`) is a second interpreter with the decoders imported and with an environment that was
  made for it. It forks a child for each input, within milliseconds. It never had the parent's memory, variables or
  descriptors, so its children do not have them either.
- A *child* has one descriptor, a socket to its parent, and limits that the kernel enforces (`limits`): private memory
  (RLIMIT_DATA, which counts what a decoder allocates, and neither libraries nor mapped files), CPU time, the size of
  files (none, unless it is to write one), open files, no core dump, no new privileges. Where the kernel has Landlock
  (`landlock`), it reads its own input and the interpreter's files alone. A system call that no decoder needs
  (`seccomp`) ends it: sockets, programs, signals to others. It is killed when its parent lets go of it, however that
  happens.
- The *parent* (`process`) gives each call a time limit in wall-clock seconds, and all calls together another. It
  believes no answer (`frames`): nothing is unpickled, and sizes and types are checked before there is room for them. A
  crash, an exceeded limit and a broken protocol are the input's fault: `SandboxFault`, a `WorkError` for the user.

It needs neither root nor namespaces nor a writable file system, and works under seccomp's RuntimeDefault. Without
Landlock, a child that was taken over could read the files of its user; without libseccomp, it could send datagrams.
"""

from __future__ import annotations

from steno_runtime.sandbox.forkserver import Emit
from steno_runtime.sandbox.frames import ProtocolFault, Reply
from steno_runtime.sandbox.limits import MIB, Limits, memory_budget
from steno_runtime.sandbox.process import SandboxedProcess, SandboxFault, prepare

__all__ = [
    "MIB",
    "Emit",
    "Limits",
    "ProtocolFault",
    "Reply",
    "SandboxFault",
    "SandboxedProcess",
    "memory_budget",
    "prepare",
]
