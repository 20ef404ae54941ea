"""`steno-server`: one replica of a RuntimePool, or with `--standalone` a server without a cluster, as `steno serve`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from steno_api.failures import EXIT_CODES, FailureClass, FailureReason
from steno_api.json_logs import resource_fields
from steno_api.server.task import PoolTask
from steno_runtime import logs
from steno_runtime.cores import use_passive_waits
from steno_runtime.errors import WorkError
from steno_runtime.serve.standalone import (
    DEFAULT_GRPC_PORT,
    DEFAULT_HOST,
    DEFAULT_MODEL,
    DEFAULT_PORT,
    DEFAULT_PROBE_PORT,
    DEFAULT_SESSIONS,
    StandaloneOptions,
    environment,
)

log = logging.getLogger(__name__)

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point; end the process with 0 after a drain, else with the exit code of what failed."""
    arguments = _parser(environment(os.environ)).parse_args(argv)
    if arguments.standalone:
        end(serve_standalone(_options(arguments), arguments.log_level))
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
    end(code)


def end(code: int) -> NoReturn:
    """End the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread that still waits for a store, or a library's own, would keep the process alive.
    os._exit(code)


def serve_standalone(options: StandaloneOptions, log_level: str = "INFO") -> int:
    """Serve without a cluster until SIGTERM or SIGINT; return the exit code."""
    logs.configure({}, log_level)
    with tempfile.TemporaryDirectory(prefix="steno-server-") as scratch:
        try:
            task = options.task(Path(scratch))
        except WorkError as error:
            log.error("the server failed", extra={"reason": error.reason, "why": error.message})  # noqa: TRY400
            return EXIT_CODES[error.reason.failure_class]
        return serve(task, hf_token=os.environ.get("HF_TOKEN") or None)


def serve(task: PoolTask, *, hf_token: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Args:
        task: what is served, and how.
        hf_token: see `Server`.
    """
    if task.anonymous:
        log.warning("clients need neither token nor key: every one that reaches %s is accepted", task.host)
    try:
        asyncio.run(_run(task, hf_token))
    except WorkError as error:
        log.error("the server failed", extra={"reason": error.reason, "why": error.message})  # noqa: TRY400
        return EXIT_CODES[error.reason.failure_class]
    except Exception:
        log.exception("the server failed")
        return EXIT_CODES[FailureClass.INTERNAL]
    return 0


async def _run(task: PoolTask, hf_token: str | None) -> None:
    use_passive_waits()
    from steno_runtime.serve.server import Server

    server = Server(task, hf_token=hf_token)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    before, tempfile.tempdir = tempfile.tempdir, task.scratch_dir  # where forms are spooled while they come in
    try:
        await server.run()
    finally:
        tempfile.tempdir = before


def _task(arguments: argparse.Namespace) -> PoolTask:
    if arguments.task is not None:
        return PoolTask.model_validate_json(arguments.task)
    try:
        return PoolTask.model_validate_json(arguments.task_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        _parser({}).error(f"cannot read {arguments.task_file}: {error}")


def _options(arguments: argparse.Namespace) -> StandaloneOptions:
    return StandaloneOptions(
        model=arguments.model,
        model_store=arguments.model_store,
        host=arguments.host,
        port=arguments.port,
        grpc_port=arguments.grpc_port,
        probe_port=arguments.probe_port,
        keys=arguments.keys,
        audio_root=arguments.audio_root,
        allow_sources=tuple(arguments.allow_source),
        allow_networks=tuple(arguments.allow_network),
        device=arguments.device,
        batch_size=arguments.batch_size,
        max_sessions=arguments.max_sessions,
    )


def _parser(environ: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="steno-server", description="Speech to text over WebSocket, gRPC and REST, with one warm model."
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--task", metavar="JSON", help="a pool's task, as a JSON document")
    given.add_argument("--task-file", metavar="FILE", type=Path, help="a file with the task")
    given.add_argument("--standalone", action="store_true", help="serve without a cluster, like `steno serve`")
    parser.add_argument("--log-level", choices=_LEVELS, default="INFO")
    group = parser.add_argument_group("with --standalone (docs/serve.md has the environment variables)")

    def option(name: str, default: Any, metavar: str, about: str, kind: Callable[[str], Any] = str) -> None:
        key = name.removeprefix("--").replace("-", "_")
        default = environ.get(key, default)  # a text is converted as one of the command line
        group.add_argument(name, default=default, metavar=metavar, type=kind, help=about)

    option("--model", DEFAULT_MODEL, "NAME", "a model of the store or the Hugging Face hub (default: %(default)s)")
    option("--model-store", "/models", "DIR", "default: %(default)s", Path)
    option("--host", DEFAULT_HOST, "ADDRESS", "default: %(default)s, this machine alone")
    option("--port", DEFAULT_PORT, "PORT", "of REST and WebSocket (default: %(default)s; 0: any)", int)
    option("--grpc-port", DEFAULT_GRPC_PORT, "PORT", "default: %(default)s", int)
    option("--probe-port", DEFAULT_PROBE_PORT, "PORT", "of metrics (default: %(default)s)", int)
    option("--keys", None, "PATH", "file or directory with records of API keys; needed for other hosts", Path)
    option("--audio-root", None, "DIR", "directory below which audio_url may be a path", Path)
    option("--device", "auto", "DEVICE", "auto, cuda or cpu")
    option("--batch-size", None, "N", "windows decoded at once (default: by memory)", int)
    option("--max-sessions", DEFAULT_SESSIONS, "N", "live sessions at a time (default: %(default)s)", int)
    for name, metavar, about in (
        ("--allow-source", "PREFIX", "URLs that audio_url may be under, such as https://host/calls or s3://bucket"),
        ("--allow-network", "CIDR", "networks that these may lead to although they are denied, such as 127.0.0.0/8"),
    ):
        given_before = environ.get(name.removeprefix("--").replace("-", "_"), "").split()
        group.add_argument(name, action="append", default=given_before, metavar=metavar, help=about)
    return parser
