"""Run commands as timed steps: what they print goes to a log, and an error is one clear line with a remedy."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hack.paths import cache_folder

TAIL_LINES = 30
KEPT_LOGS = 20


class StepError(Exception):
    """Something went wrong that a person can act upon: the text says what."""

    exit_code = 1


class MissingError(StepError):
    """A prerequisite is absent and cannot be installed from here."""

    exit_code = 2

    def __init__(self, prerequisite: str, remedy: str) -> None:
        """Take what is missing and what to do about it."""
        super().__init__(f"missing: {prerequisite}. {remedy}")


class CommandError(StepError):
    """A command failed; carries its exit status and the end of what it printed."""

    def __init__(self, command: Sequence[str], status: int | None, output: str, log: Path | None = None) -> None:
        """Take the command, its exit status (None: timed out), its output and the log that has all of it."""
        line = shlex.join(command)
        line = line if len(line) < 200 else line[:200] + " …"
        what = "timed out" if status is None else f"exited with {status}"
        lines = output.rstrip().splitlines()[-TAIL_LINES:]
        where = [f"whole log: {log}"] if log else []
        super().__init__("\n".join([f"`{line}` {what}", *(f"    {text}" for text in lines), *where]))
        self.status = status
        self.output = output


@dataclass(frozen=True)
class Done:
    """A finished step: its title, nesting depth and seconds."""

    title: str
    depth: int
    seconds: float
    failed: bool = False


class _Thread(threading.local):
    """What each thread has of its own, so that steps may run side by side."""

    depth = 0
    log: Path | None = None


_done: list[Done] = []
_thread = _Thread()


def duration(seconds: float) -> str:
    """Return seconds as people read them: `0.4 s`, `93 s`, `12 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def say(text: str) -> None:
    """Print one line, under the step that is running."""
    print("    " * _thread.depth + text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Generator[None]:
    """Print that a step starts, and how long it took when it ends."""
    say(f"==> {title} …")
    start, failed, depth = time.monotonic(), True, _thread.depth
    _thread.depth += 1
    try:
        yield
        failed = False
    finally:
        _thread.depth = depth
        seconds = time.monotonic() - start
        _done.append(Done(title, depth, seconds, failed))
        say(f"{'FAILED' if failed else '   '} {title} … {duration(seconds)}")


def side_by_side(*bodies: Callable[[], object]) -> None:
    """Run functions at the same time, each in a thread; raise the first error once all have ended."""
    depth = _thread.depth

    def run_one(body: Callable[[], object]) -> None:
        _thread.depth = depth
        body()

    with ThreadPoolExecutor(len(bodies)) as pool:
        for future in [pool.submit(run_one, body) for body in bodies]:
            future.result()


def log_file() -> Path:
    """Return the file that takes the output of this thread's commands."""
    if _thread.log is None:
        folder = cache_folder("logs")
        for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
            old.unlink(missing_ok=True)
        _thread.log = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{threading.get_ident() % 9973}.log"
    return _thread.log


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    text: str | None = None,
) -> None:
    """Run a command into the log file.

    Args:
        command: the program and its arguments.
        cwd: the folder to run it in.
        env: variables added to this process's own.
        timeout: seconds after which it is killed.
        text: what it reads on standard input.

    Raises:
        CommandError: it failed or timed out; the end of its output is in the message.
    """
    words, log = [str(word) for word in command], log_file()
    with log.open("a") as out:
        print(f"$ {shlex.join(words)}", file=out, flush=True)
        begin = out.tell()
        status = _status(words, cwd=cwd, env=env, timeout=timeout, text=text, out=out)
    if status != 0:
        with log.open(errors="replace") as file:
            file.seek(begin)
            raise CommandError(words, status, file.read(), log)


def tee(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Run a command whose output people want to read while it runs.

    Raises:
        CommandError: it failed; its output is above the message.
    """
    words = [str(word) for word in command]
    say(f"$ {shlex.join(words)}")
    if status := _status(words, cwd=cwd, env=env):
        raise CommandError(words, status, "")


def _status(
    words: list[str],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    timeout: float | None = None,
    text: str | None = None,
    out: IO[str] | None = None,
) -> int | None:
    """Run a command and return its exit status; None when it timed out."""
    try:
        return subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            timeout=timeout,
            text=True,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None
    except FileNotFoundError:
        raise MissingError(words[0], "Install it or put it on PATH.") from None


def output(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = 120,
) -> str:
    """Run a short command and return what it printed on standard output, stripped.

    Args:
        command: the program and its arguments.
        cwd: the folder to run it in.
        env: variables added to this process's own.
        timeout: seconds after which it is killed.

    Raises:
        CommandError: it failed or timed out.
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
        raise MissingError(words[0], "Install it or put it on PATH.") from None
    if done.returncode:
        raise CommandError(words, done.returncode, done.stdout + done.stderr)
    return done.stdout.strip()


def succeeds(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float = 60) -> bool:
    """Return whether a short command succeeds; a missing program or a timeout counts as failure."""
    try:
        output(command, env=env, timeout=timeout)
    except StepError:
        return False
    return True


def wait_for(what: str, ready: Callable[[], bool], *, timeout: float, interval: float = 0.3) -> None:
    """Poll until `ready()`.

    Args:
        what: the state that is waited for, for the message.
        ready: whether it is reached.
        timeout: seconds after which it is given up.
        interval: seconds between two polls.

    Raises:
        StepError: it was not reached in time.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise StepError(f"{what}: not so after {duration(timeout)} (log: {log_file()})")
        time.sleep(interval)


def summary(floor: float = 0.5) -> None:
    """Print every finished step of this process that took at least `floor` seconds, nested ones indented."""
    shown = [done for done in _done if done.depth == 0 or done.seconds >= floor]
    if len(shown) < 2:
        return
    width = max(len(done.title) + 2 * done.depth for done in shown)
    say("-- steps " + "-" * max(0, width - 1))
    for done in shown:
        name = "  " * done.depth + done.title
        say(f"{name:<{width}}  {duration(done.seconds):>12}{'  FAILED' if done.failed else ''}")


def main(body: Callable[[], int | None]) -> int:
    """Run a program's body: a StepError becomes its text and exit status, never a traceback."""
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
