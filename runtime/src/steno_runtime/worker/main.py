"""`steno-worker`: does one task, writes its termination message and exits with the code of its failure class."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from steno_api.failures import FailureReason
from steno_api.json_logs import resource_fields
from steno_api.worker.task import AnyTask, OCRTask, Task, TranscriptionTask
from steno_api.worker.termination import Failed, Succeeded
from steno_runtime import logs
from steno_runtime.progress import ProgressMeter, ProgressUpdate
from steno_runtime.publishing import Proofs
from steno_runtime.result_keys import ResultKeyClient
from steno_runtime.worker.recognition import OCRHandler
from steno_runtime.worker.reporter import Reporter
from steno_runtime.worker.signals import StopSignal
from steno_runtime.worker.task_handler import TaskHandler
from steno_runtime.worker.termination import DEFAULT_PATH, STOPPED, TerminationWriter, exit_code, logged_failure
from steno_runtime.worker.transcription import TranscriptionHandler

log = logging.getLogger(__name__)

_TASK: TypeAdapter[AnyTask] = TypeAdapter(AnyTask)

_HANDLERS: dict[type[Task], Callable[[Any], TaskHandler]] = {
    TranscriptionTask: TranscriptionHandler,
    OCRTask: OCRHandler,
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `steno-worker`; the process ends with the exit code of the result."""
    code = execute(_arguments(argv))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads of libraries, and their teardown, can hang, and everything that counts is written.
    os._exit(code)


def execute(document: str) -> int:
    """Do the task that `document` (JSON) describes, and write its termination message; return the exit code."""
    try:
        task = _TASK.validate_json(document)
    except ValidationError as error:
        logs.configure({})
        return _refuse_task(error)
    kind = f"{task.kind.removesuffix('Task')}Job"
    logs.configure(resource_fields(kind, task.job.namespace, task.job.name) | {"attempt": task.attempt})
    termination = TerminationWriter(task.termination_message_path)
    stop = StopSignal(on_timeout=lambda: _give_up(termination))
    stop.install()
    reporter = Reporter(task)
    result = termination.write(_result(task, stop, reporter, termination))
    reporter.close()
    code = exit_code(result)
    log.info("done", extra={"outcome": result.outcome, "exit_code": code})
    return code


def _result(task: Task, stop: StopSignal, reporter: Reporter, termination: TerminationWriter) -> Succeeded | Failed:
    handler = _HANDLERS[type(task)](task)
    meter = ProgressMeter(handler.weights, started=time.monotonic())

    def on_progress(update: ProgressUpdate) -> None:
        termination.count(update)
        reporter.publish(meter.measure(update, now=time.monotonic()))

    try:
        from steno_runtime.worker.run import run

        keys = ResultKeyClient(task.reporting, task.job, where=task.output.uri, check=stop.check)
        return run(
            task,
            handler,
            stop=stop,
            on_progress=on_progress,
            on_document=termination.count_document,
            proofs=Proofs(keys),
        )
    except BaseException as error:  # noqa: BLE001  (whatever it is, the termination message must be written)
        return logged_failure(error, handler.remedy)


def _give_up(termination: TerminationWriter) -> None:
    log.warning("the work did not stop in time; ending the process")
    termination.write(STOPPED)


def _refuse_task(error: ValidationError) -> int:
    where = ", ".join(sorted({".".join(str(part) for part in item["loc"]) or "it" for item in error.errors()}))
    log.error("the task is not valid", extra={"fields": where})
    result = Failed(
        reason=FailureReason.INVALID_SPEC,
        message=f"The worker does not understand its task ({where[:300]}). "
        "Use a runtime image of the operator's version.",
    )
    return exit_code(TerminationWriter(DEFAULT_PATH).write(result))


def _arguments(argv: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(prog="steno-worker", description="Do one Steno task and publish its results.")
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
