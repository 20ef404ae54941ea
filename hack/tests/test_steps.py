"""What a person sees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hack import steps


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(steps._thread, "log", None)
    monkeypatch.setattr(steps, "_done", [])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (93.2, "93 s"), (119.6, "2 min 00 s"), (725, "12 min 05 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert steps.duration(seconds) == text


def test_a_missing_prerequisite_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise steps.MissingError("Docker", "Install it.")

    assert steps.main(body) == 2
    assert capsys.readouterr().err == "error: missing: Docker. Install it.\n"


def test_an_absent_program_is_a_missing_prerequisite() -> None:
    with pytest.raises(steps.MissingError, match="no-such-program"):
        steps.run(["no-such-program"])


def test_a_failed_command_shows_its_own_end_and_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        with steps.step("first"):
            steps.run([sys.executable, "-c", "print('of another command')"])
        with steps.step("second"):
            steps.run([sys.executable, "-c", "print(*range(100), sep='\\n'); raise SystemExit(7)"])
        return 0

    assert steps.main(body) == 1
    printed = capsys.readouterr().err
    assert "exited with 7" in printed
    assert "    99\n" in printed
    assert "    5\n" not in printed
    assert "of another command" not in printed
    assert str(steps.log_file()) in printed
    assert "of another command" in steps.log_file().read_text()
    assert "FAILED second" in printed


def test_a_command_that_hangs_is_stopped() -> None:
    with pytest.raises(steps.CommandError, match="timed out"):
        steps.run([sys.executable, "-c", "import time; time.sleep(600)"], timeout=0.2)


def test_input_reaches_a_command() -> None:
    steps.run([sys.executable, "-c", "print('got', input())"], text="this\n")
    assert "got this" in steps.log_file().read_text()


def test_nested_steps_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    with steps.step("outer"), steps.step("inner"):
        pass
    steps.summary(floor=0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "==> outer …"
    assert lines[1] == "    ==> inner …"
    assert lines[-2].startswith("  inner")
    assert lines[-1].startswith("outer")


def test_waiting_says_what_for() -> None:
    with pytest.raises(steps.StepError, match="the moon is full"):
        steps.wait_for("the moon is full", lambda: False, timeout=0, interval=0)


def test_steps_run_side_by_side_and_the_first_error_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with steps.step("left"):
            steps.run([sys.executable, "-c", "raise SystemExit(3)"])

    def work() -> None:
        with steps.step("right"):
            steps.run([sys.executable, "-c", "import time; time.sleep(0.3); print('done')"])

    with pytest.raises(steps.CommandError, match="exited with 3"), steps.step("both"):
        steps.side_by_side(fail, work)
    printed = capsys.readouterr().err
    assert "    FAILED left" in printed
    assert "        right … " in printed
