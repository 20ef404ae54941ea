"""Steps that say what they do and how long it took, and errors that are one clear line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.paths import cache_folder

TAIL_LINES = 30
KEPT_LOGS = 20


class StepError(Exception):
    """Something went wrong that a person can act upon: the text says what."""

    exit_code = 1


class Missing(StepError):  # noqa: N818 - reads as what it says
    """A prerequisite is absent and cannot be installed from here."""

    exit_code = 2

    def __init__(self, prerequisite: str, remedy: str) -> None:
        """Takes what is missing and what to do about it."""
        super().__init__(f"missing: {prerequisite}. {remedy}")
        self.prerequisite = prerequisite
        self.remedy = remedy


class CommandError(StepError):
    """A command failed; carries its exit status and the end of what it printed."""

    def __init__(self, command: Sequence[str], status: int | None, output: str, log: Path | None = None) -> None:
        """Takes the command, its exit status (None: it ran out of time), its output and the log that has it all."""
        line = shlex.join(command)
        line = line if len(line) < 200 else line[:200] + " …"
        what = "ran out of time" if status is None else f"exited with {status}"
        lines = output.rstrip().splitlines()[-TAIL_LINES:]
        where = [f"whole log: {log}"] if log else []
        super().__init__("\n".join([f"`{line}` {what}", *(f"    {text}" for text in lines), *where]))
        self.status = status
        self.output = output


@dataclass(frozen=True)
class Done:
    """A finished step: its title, how deep it was nested, and seconds."""

    title: str
    depth: int
    seconds: float
    failed: bool = False


_done: list[Done] = []
_depth = 0
_log: Path | None = None


def duration(seconds: float) -> str:
    """Seconds as people read them: `0.4 s`, `93 s`, `12 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def say(text: str) -> None:
    """Prints one line, under the step that is running."""
    print("    " * _depth + text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Generator[None]:
    """Prints that a step starts, and how long it took when it ends."""
    global _depth  # noqa: PLW0603 - one terminal, one indentation
    say(f"==> {title} …")
    start, failed = time.monotonic(), True
    depth = _depth
    _depth += 1
    try:
        yield
        failed = False
    finally:
        _depth = depth
        seconds = time.monotonic() - start
        _done.append(Done(title, depth, seconds, failed))
        say(f"{'FAILED' if failed else '   '} {title} … {duration(seconds)}")


def log_file() -> Path:
    """The file that takes the output of this process's commands."""
    global _log  # noqa: PLW0603 - one per process
    if _log is None:
        folder = cache_folder("logs")
        for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
            old.unlink(missing_ok=True)
        _log = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    return _log


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    text: str | None = None,
) -> None:
    """Runs a command into the log file.

    Args:
        command: the program and its arguments.
        cwd: the folder to run it in.
        env: variables added to this process's own.
        timeout: seconds after which it is killed.
        text: what it reads on standard input.

    Raises:
        CommandError: it failed or ran out of time; the end of its output is in the message.
    """
    words = [str(word) for word in command]
    log = log_file()
    with log.open("a") as out:
        print(f"$ {shlex.join(words)}", file=out, flush=True)
        begin = out.tell()
        status: int | None
        try:
            status = subprocess.run(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                input=text,
                text=True,
                stdin=subprocess.DEVNULL if text is None else None,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        except FileNotFoundError:
            raise Missing(words[0], "Install it or put it on PATH.") from None
    if status != 0:
        with log.open(errors="replace") as file:
            file.seek(begin)
            raise CommandError(words, status, file.read(), log)


def tee(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Runs a command whose output people want to read while it runs.

    Raises:
        CommandError: it failed; what it printed stands above the message.
    """
    words = [str(word) for word in command]
    say(f"$ {shlex.join(words)}")
    try:
        status = subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, check=False
        ).returncode
    except FileNotFoundError:
        raise Missing(words[0], "Install it or put it on PATH.") from None
    if status != 0:
        raise CommandError(words, status, "")


def output(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = 120,
) -> str:
    """Runs a short command and returns what it printed on standard output, stripped.

    Raises:
        CommandError: it failed or ran out of time.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(words, None, "") from None
    except FileNotFoundError:
        raise Missing(words[0], "Install it or put it on PATH.") from None
    if done.returncode:
        raise CommandError(words, done.returncode, done.stdout + done.stderr)
    return done.stdout.strip()


def succeeds(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float = 60) -> bool:
    """Whether a short command ends well; a missing program or no answer in time is a no."""
    try:
        output(command, env=env, timeout=timeout)
    except StepError:
        return False
    return True


def wait_for(what: str, ready: Callable[[], bool], *, timeout: float, interval: float = 0.3) -> None:
    """Polls until `ready()`; raises StepError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            msg = f"{what}: not so after {duration(timeout)} (log: {log_file()})"
            raise StepError(msg)
        time.sleep(interval)


def summary(floor: float = 0.5) -> None:
    """Prints every finished step of this process that took at least `floor` seconds, nested ones indented."""
    shown = [done for done in _done if done.depth == 0 or done.seconds >= floor]
    if len(shown) < 2:
        return
    width = max(len(done.title) + 2 * done.depth for done in shown)
    say("-- steps " + "-" * max(0, width - 1))
    for done in shown:
        name = "  " * done.depth + done.title
        say(f"{name:<{width}}  {duration(done.seconds):>12}{'  FAILED' if done.failed else ''}")


def main(body: Callable[[], int | None]) -> int:
    """Runs a program's body: a StepError becomes its text and exit status, never a traceback."""
    try:
        status = body() or 0
    except StepError as err:
        say(f"error: {err}")
        status = err.exit_code
    except KeyboardInterrupt:
        say("error: interrupted")
        status = 130
    summary()
    return status
