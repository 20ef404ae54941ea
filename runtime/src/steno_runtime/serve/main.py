"""`steno-server`: one replica of a RuntimePool, or a stand-alone server with `--insecure`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from steno_api.failures import EXIT_CODES, FailureClass, FailureReason
from steno_api.json_logs import resource_fields
from steno_api.model import ObjectRef
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_runtime import logs
from steno_runtime.cores import use_passive_openmp_waits
from steno_runtime.errors import WorkError

log = logging.getLogger(__name__)

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_INSECURE_SESSIONS = 8


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point; end the process with 0 after a drain, else with the exit code of what failed."""
    arguments = _parser().parse_args(argv)
    try:
        task = _task(arguments)
    except ValidationError as error:
        logs.configure({}, arguments.log_level)
        where = ", ".join(sorted({".".join(str(part) for part in item["loc"]) or "it" for item in error.errors()}))
        log.error("the task is not valid: use a runtime image of the operator's version", extra={"fields": where})  # noqa: TRY400
        code = EXIT_CODES[FailureReason.INVALID_SPEC.failure_class]
    else:
        logs.configure(resource_fields("RuntimePool", task.pool.namespace, task.pool.name), arguments.log_level)
        code = serve(task)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread that still waits for a store, or a library's own, would keep the process alive.
    os._exit(code)


def serve(task: PoolTask) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    if task.anonymous:
        log.warning("clients need no token: every one that reaches %s is accepted", task.host)
    try:
        asyncio.run(_run(task))
    except WorkError as error:
        log.error("the server failed", extra={"reason": error.reason, "why": error.message})  # noqa: TRY400
        return EXIT_CODES[error.reason.failure_class]
    except Exception:
        log.exception("the server failed")
        return EXIT_CODES[FailureClass.INTERNAL]
    return 0


async def _run(task: PoolTask) -> None:
    use_passive_openmp_waits()
    from steno_runtime.serve.server import Server

    server = Server(task)
    tempfile.tempdir = task.scratch_dir  # where forms are spooled while they come in; the process is ours
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run()


def _task(arguments: argparse.Namespace) -> PoolTask:
    if arguments.insecure:
        return _local_task(arguments)
    if arguments.task is not None:
        return PoolTask.model_validate_json(arguments.task)
    try:
        return PoolTask.model_validate_json(arguments.task_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        _parser().error(f"cannot read {arguments.task_file}: {error}")


def _local_task(arguments: argparse.Namespace) -> PoolTask:
    return PoolTask(
        pool=ObjectRef(namespace="local", name="local", uid="local"),
        tenant="local",
        model=SpeechModel(name=arguments.model),
        model_store=str(arguments.model_store),
        scratch_dir=tempfile.mkdtemp(prefix="steno-server-"),
        max_sessions=arguments.max_sessions,
        token_keys=[],
        anonymous=True,
        host=arguments.host,
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        probe_port=arguments.probe_port,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="steno-server", description="Speech to text over WebSocket, gRPC and REST, with one warm model."
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--task", metavar="JSON", help="a pool's task, as a JSON document")
    given.add_argument("--task-file", metavar="FILE", type=Path, help="a file with the task")
    given.add_argument("--insecure", action="store_true", help="serve without a cluster, and without tokens")
    parser.add_argument("--log-level", choices=_LEVELS, default="INFO")
    local = parser.add_argument_group("with --insecure")
    local.add_argument("--model", default="whisper-base", help="a model of the store (default: %(default)s)")
    local.add_argument("--model-store", metavar="DIR", type=Path, default=Path("/models"), help="default: %(default)s")
    local.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="default: %(default)s, this machine alone"
    )
    local.add_argument("--http-port", metavar="PORT", type=int, default=8080, help="default: %(default)s; 0: any")
    local.add_argument("--grpc-port", metavar="PORT", type=int, default=9090, help="default: %(default)s; 0: any")
    local.add_argument("--probe-port", metavar="PORT", type=int, default=8081, help="default: %(default)s; 0: any")
    local.add_argument("--max-sessions", metavar="N", type=int, default=_INSECURE_SESSIONS, help="default: %(default)s")
    return parser
