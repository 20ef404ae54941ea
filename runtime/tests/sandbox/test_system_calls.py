"""What a child that was taken over may ask of the kernel: nothing that decoding needs not."""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from steno_api.failures import FailureReason
from steno_runtime.sandbox import MIB, Limits, SandboxedProcess, SandboxFault, landlock, prepare, seccomp
from steno_runtime.sandbox.process import ForkServer

from . import children


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    prepare(children.__name__)


@pytest.fixture
def child() -> Iterator[SandboxedProcess]:
    with SandboxedProcess("The file", Limits(memory=256 * MIB, cpu_seconds=60, seconds=120.0)) as process:
        yield process


@pytest.fixture
def writer() -> Iterator[SandboxedProcess]:
    """A child that may start programs."""
    limits = Limits(memory=256 * MIB, cpu_seconds=60, seconds=120.0, programs=True)
    with SandboxedProcess("The file", limits) as process:
        yield process


@pytest.mark.parametrize("how", [*children.OF_NETWORKS, *children.TRESPASSES, *children.OF_PROGRAMS])
def test_what_no_decoder_does_ends_the_child_and_is_the_inputs_fault(child, how):
    with pytest.raises(SandboxFault) as caught:
        child.call(partial(children.trespass, how=how), seconds=60)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "asked the kernel for what reading does not need (SIGSYS)" in caught.value.message
    assert child.closed


@pytest.mark.parametrize("how", children.TRESPASSES)
def test_where_programs_are_allowed_the_rest_is_not(writer, how):
    with pytest.raises(SandboxFault, match="SIGSYS"):
        writer.call(partial(children.trespass, how=how), seconds=60)


@pytest.mark.parametrize("how", children.OF_NETWORKS)
def test_where_programs_are_allowed_there_are_no_sockets_for_them(writer, how):
    assert writer.call(partial(children.trespass, how=how), seconds=60).value == "PermissionError"


def test_programs_run_where_they_are_allowed(writer):
    assert writer.call(children.run_program, seconds=60).value == "hello\n"


def test_a_crash_is_still_one(child):
    with pytest.raises(SandboxFault, match=r"crashed \(SIGBUS\)"):
        child.call(children.kill_itself, seconds=60)


def test_decoders_have_their_threads(child):
    assert child.call(children.use_threads, seconds=60).value == [0, 1, 2, 3]


def test_shared_memory_is_as_if_the_kernel_had_none(child):
    assert child.call(children.share_memory, seconds=60).value == [-1, errno.ENOSYS]


def test_the_log_says_whether_system_calls_are_filtered(monkeypatch, caplog):
    for filtered in (True, False):
        monkeypatch.setattr(seccomp, "available", lambda answer=filtered: answer)
        caplog.clear()
        server = ForkServer()
        with caplog.at_level(logging.INFO):
            server.prepare()
        server.close()
        assert ("libseccomp2 or the kernel's seccomp is missing" in caplog.text) is not filtered
    monkeypatch.undo()
    assert seccomp.available()


@pytest.mark.skipif(landlock.version() < 6, reason="the kernel's Landlock knows no scopes")
def test_landlock_alone_keeps_it_from_other_processes_and_connections():
    """Where there is no libseccomp."""
    code = f"""
import ctypes, os, socket
from steno_runtime.sandbox import landlock
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
landlock.restrict((), ())
def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return type(error).__name__
print(attempt(lambda: os.kill({os.getpid()}, 0)))
print(attempt(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=5)))
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = code.replace("PORT", str(server.getsockname()[1]))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PermissionError"] * 2
