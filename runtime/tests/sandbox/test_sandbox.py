"""Children of the sandbox that crash, want too much, or lie; and what the parent makes of it."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.sandbox import MIB, Limits, SandboxedProcess, SandboxFault, landlock, memory_budget, prepare
from steno_runtime.sandbox.limits import MIN_MEMORY

from . import children

LIMITS = Limits(memory=256 * MIB, cpu_seconds=60, seconds=120.0, array_bytes=64 * MIB)


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    prepare(children.__name__)


@pytest.fixture
def child() -> Iterator[SandboxedProcess]:
    with SandboxedProcess("The file", LIMITS) as process:
        yield process


def limited(**limits: Any) -> SandboxedProcess:
    return SandboxedProcess("The file", Limits(**{"memory": 256 * MIB, "cpu_seconds": 60, "seconds": 120.0} | limits))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, within ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
    return False


def test_a_call_has_a_result_and_events(child):
    events: list[Any] = []
    assert child.call(partial(children.double, number=21), seconds=60, on_event=events.append).value == 42
    assert child.call(partial(children.double, number=4), seconds=60, on_event=events.append).value == 8
    assert events == [{"half": 10.5}, {"half": 2.0}]


@pytest.mark.parametrize("count", [0, 1, 1_000_003])
def test_arrays_arrive_as_they_were(child, count):
    reply = child.call(partial(children.ramp, count=count), seconds=60)
    samples, pixels = reply.arrays
    np.testing.assert_array_equal(samples, np.arange(count, dtype=np.float32))
    np.testing.assert_array_equal(pixels, np.full((2, 3, 3), 7, np.uint8))


def test_memory_that_was_sent_is_given_back():
    """Two hundred megabytes, of which the child may not have twice as much; the parent has them by then."""
    with limited(memory=300 * MIB, array_bytes=400 * MIB) as process:
        (samples, _), count = process.call(partial(children.ramp, count=50_000_000), seconds=60).arrays, 50_000_000
        assert samples[-1] == np.float32(count - 1)
        assert process.call(partial(children.double, number=1), seconds=60).value == 2


def test_nothing_of_the_parent_is_inherited(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("HF_TOKEN", "do-not-tell")
    with (tmp_path / "secret").open("w") as file, limited() as process:
        os.set_inheritable(file.fileno(), True)
        seen = process.call(children.look_around, seconds=60).value
    assert not [name for name in seen["environment"] if name.startswith(("AWS_", "HF_"))]
    assert "do-not-tell" not in seen["initial"]
    held = [target for target in seen["targets"].values() if not target.startswith(("/dev/null", "socket:", "/proc/"))]
    assert [target for target in held if target != "gone"] == []
    assert [target for target in seen["targets"].values() if target.startswith("socket:")] != []
    assert len([target for target in seen["targets"].values() if target.startswith("socket:")]) == 1
    assert seen["no_new_privs"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (children.crash, "crashed (SIGSEGV)"),
        (children.abort, "crashed (SIGABRT)"),
        (children.leave, "crashed"),
        (partial(children.say, data=b"{"), "cannot be parsed"),
        (partial(children.say, data=b"[" * 100_000), "cannot be parsed"),
        (partial(children.say, data=b"[]"), "cannot be parsed"),
        (partial(children.say, data=children.answer("event", float("nan"), [])), "cannot be parsed"),
        (partial(children.say, data=b'{"kind": "event", "value": 1e999, "arrays": []}'), "cannot be parsed"),
        (partial(children.say, data=b'{"kind": "event", "value": -1E+999, "arrays": []}'), "cannot be parsed"),
        (partial(children.say, data=b'{"kind": "event", "value": NaN, "arrays": []}'), "cannot be parsed"),
        (
            partial(children.say, data=b'{"kind": "event", "value": 1%s.0, "arrays": []}' % (b"0" * 400)),
            "cannot be parsed",
        ),
        (partial(children.say, data=children.answer("nonsense", 1, [])), "unknown kind"),
        (partial(children.say, data=children.answer("ready", 1, [])), "out of place"),
        (partial(children.say, data=children.answer("failed", 1, [])), "without a reason"),
        (partial(children.fail, reason=FailureReason.OUT_OF_MEMORY, message="retry"), "not for it to say"),
        (partial(children.say, data=children.answer("result", 1, [{"dtype": "object", "shape": [1]}])), "unknown kind"),
        (partial(children.say, data=children.answer("result", 1, [{"dtype": "uint8", "shape": [-1]}])), "unknown kind"),
        (partial(children.say, data=children.answer("result", 1, [{"dtype": "uint8", "shape": [1] * 9}])), "unknown"),
        (partial(children.say, data=children.answer("result", 1, [{"dtype": "uint8", "shape": [2**40]}])), "too large"),
    ],
)
def test_a_crash_or_a_lie_is_the_inputs_fault(child, request_, says):
    with pytest.raises(SandboxFault) as caught:
        child.call(request_, seconds=60)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA
    assert says in caught.value.message
    assert caught.value.message.startswith("The file cannot be read: ")
    assert "save it anew" in caught.value.message
    assert child.closed


def test_an_answer_that_is_too_long_is_not_received(child):
    with pytest.raises(SandboxFault, match=r"8\.0 MiB") as caught:
        child.call(partial(children.say, data=b"", length=2**32 - 1), seconds=60)
    assert caught.value.reason is FailureReason.TOO_LARGE


@pytest.mark.parametrize("eat", [children.eat_memory, children.eat_memory_in_c])
def test_memory_is_limited(child, eat):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SandboxFault) as caught:
        child.call(eat, seconds=60)
    assert caught.value.reason in (FailureReason.TOO_LARGE, FailureReason.UNSUPPORTED_MEDIA)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_cpu_time_is_limited():
    with limited(cpu_seconds=1) as process, pytest.raises(SandboxFault, match="CPU time"):
        process.call(children.spin, seconds=60)


def test_a_step_has_a_time_limit():
    with limited() as process, pytest.raises(SandboxFault, match="for one step"):
        process.call(partial(children.sleep, seconds=60), seconds=0.2)


def test_events_show_that_it_goes_on_but_all_of_it_has_a_limit():
    with limited(seconds=1.0) as process, pytest.raises(SandboxFault, match=r"longer than the 1 s allowed"):
        process.call(partial(children.sleep, seconds=0.05, times=1000), seconds=60)


def test_files_are_not_written_unless_allowed(tmp_path):
    path = tmp_path / "huge"
    with limited(writable=(str(tmp_path),)) as process, pytest.raises(SandboxFault, match="writes more") as caught:
        process.call(partial(children.write, path=str(path), count=1), seconds=60)
    assert caught.value.reason is FailureReason.TOO_LARGE
    assert path.stat().st_size == 0
    with limited(file_bytes=3 * MIB, writable=(str(tmp_path),)) as process:
        process.call(partial(children.write, path=str(path), count=3), seconds=60)
        with pytest.raises(SandboxFault):
            process.call(partial(children.write, path=str(path), count=4), seconds=60)
    assert path.stat().st_size == 3 * MIB


@pytest.mark.skipif(landlock.version() < 1, reason="the kernel has no Landlock")
def test_other_files_are_out_of_reach(tmp_path):
    for name in ("input", "secret"):
        (tmp_path / name).write_text(name)
    with limited(readable=(str(tmp_path / "input"),)) as process:

        def attempt(path: str, mode: str = "r") -> str:
            return process.call(partial(children.attempt_open, path=path, mode=mode), seconds=60).value

        assert attempt(str(tmp_path / "input")) == "opened"
        assert attempt(str(tmp_path / "input"), "a") == "PermissionError"
        assert attempt(str(tmp_path / "secret")) == "PermissionError"
        assert attempt(str(tmp_path / "new"), "w") == "PermissionError"
        assert attempt(f"/proc/{os.getpid()}/environ") == "PermissionError"
        assert attempt(f"/proc/{os.getpid()}/cmdline") == "PermissionError"
    assert not (tmp_path / "new").exists()


def test_what_the_child_says_of_its_input_is_passed_on(child):
    with pytest.raises(WorkError) as caught:
        child.call(
            partial(children.fail, reason=FailureReason.ENCRYPTED, message="Needs a\x1b[2Jpassword."), seconds=60
        )
    assert caught.value.reason is FailureReason.ENCRYPTED
    assert caught.value.message == "Needs a [2Jpassword."
    assert child.call(partial(children.double, number=1), seconds=60).value == 2


def test_a_defect_is_one(child, caplog):
    with pytest.raises(WorkError, match="ZeroDivisionError") as caught:
        child.call(children.stumble, seconds=60)
    assert caught.value.reason is FailureReason.INTERNAL
    assert "something of the document" not in caplog.text


def test_a_stop_ends_the_child(child):
    asked: list[None] = []

    def check() -> None:
        asked.append(None)
        if len(asked) > 1:
            raise Stopped

    pid = child.call(children.look_around, seconds=60).value["pid"]
    with pytest.raises(Stopped):
        child.call(partial(children.sleep, seconds=60), seconds=60, check=check)
    assert is_gone(pid)


def test_children_end_with_the_fork_server_and_the_next_one_starts_another():
    with limited() as process:
        seen = process.call(children.look_around, seconds=60).value
        os.kill(seen["server"], signal.SIGKILL)
        assert is_gone(seen["pid"])
        with pytest.raises(SandboxFault):
            process.call(partial(children.double, number=1), seconds=60)
    with limited() as process:
        assert process.call(partial(children.double, number=1), seconds=60).value == 2


def test_children_do_not_disturb_each_other():
    results: list[int] = []

    def work(number: int) -> None:
        with limited() as process:
            if number % 2:
                with pytest.raises(SandboxFault):
                    process.call(children.crash, seconds=60)
            else:
                results.append(process.call(partial(children.double, number=number), seconds=60).value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 4, 8, 12]


def test_the_budget_is_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr("steno_runtime.sandbox.limits.free_memory", lambda: 4096 * MIB)
    assert memory_budget(512 * MIB) == 512 * MIB
    assert memory_budget(1 << 60) == 2048 * MIB
    monkeypatch.setattr("steno_runtime.sandbox.limits.free_memory", lambda: 0)
    assert memory_budget(1 << 60) == MIN_MEMORY
