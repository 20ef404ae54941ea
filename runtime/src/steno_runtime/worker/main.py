"""`steno-worker`: does one task and says how it ended."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter, ValidationError

from steno_api.failures import FailureReason
from steno_api.worker.task import AnyTask, Task
from steno_api.worker.termination import Failed, Succeeded
from steno_runtime.progress import ProgressMeter, ProgressUpdate
from steno_runtime.worker import logs
from steno_runtime.worker.failure import failed
from steno_runtime.worker.last_word import DEFAULT_PATH, STOPPED, LastWord, exit_code
from steno_runtime.worker.reporter import Reporter
from steno_runtime.worker.signals import Stop
from steno_runtime.worker.works import work_of

log = logging.getLogger(__name__)

_TASK: TypeAdapter[AnyTask] = TypeAdapter(AnyTask)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point; ends the process with the exit code of the outcome."""
    code = work(_arguments(argv))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the libraries' own threads and their teardown have hung before, and all that counts is written.
    os._exit(code)


def work(document: str) -> int:
    """Does the task that `document` (JSON) describes; returns the exit code."""
    try:
        task: Task = _TASK.validate_json(document)
    except ValidationError as error:
        logs.configure(None)
        return _refuse_task(error)
    logs.configure(task)
    last_word = LastWord(task.termination_message_path)
    stop = Stop(last_resort=lambda: _give_up(last_word))
    stop.listen()
    reporter = Reporter(task)
    result = last_word.say(_outcome(task, stop, reporter))
    reporter.close()
    code = exit_code(result)
    log.info("done", extra={"outcome": result.outcome, "exit_code": code})
    return code


def _outcome(task: Task, stop: Stop, reporter: Reporter) -> Succeeded | Failed:
    work = work_of(task)
    meter = ProgressMeter(work.weights, started=time.monotonic())

    def on_progress(update: ProgressUpdate) -> None:
        reporter.publish(meter.measure(update, now=time.monotonic()))

    try:
        from steno_runtime.worker.run import run

        return run(task, work, stop=stop, on_progress=on_progress)
    except BaseException as error:  # whatever it is, the last word must be said
        word = failed(error, work.relief)
        if word.reason is FailureReason.INTERNAL or word.reason is FailureReason.OUT_OF_MEMORY:
            log.exception("failed", extra={"reason": word.reason})
        else:
            log.warning("failed", extra={"reason": word.reason, "why": word.message})
        return word


def _give_up(last_word: LastWord) -> None:
    log.warning("did not stop by itself; ending the process")
    last_word.say(STOPPED)


def _refuse_task(error: ValidationError) -> int:
    where = ", ".join(sorted({".".join(str(part) for part in item["loc"]) or "it" for item in error.errors()}))
    log.error("the task is not valid", extra={"fields": where})
    word = Failed(
        reason=FailureReason.INVALID_SPEC,
        message=f"The worker does not understand its task ({where[:300]}). "
        "Use a runtime image of the operator's version.",
    )
    return exit_code(LastWord(DEFAULT_PATH).say(word))


def _arguments(argv: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(prog="steno-worker", description="Does one Steno task and publishes its results.")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--task", metavar="JSON", help="the task, as a JSON document")
    given.add_argument("--task-file", metavar="FILE", type=Path, help="a file with the task")
    arguments = parser.parse_args(argv)
    if arguments.task is not None:
        return arguments.task
    try:
        return arguments.task_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"cannot read {arguments.task_file}: {error}")
