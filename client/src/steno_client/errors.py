"""Exit codes and error reporting: one line that says what is wrong and what to do, and a sysexits code.

| code | meaning |
|---|---|
| 0 | done; for `tail` and `submit --wait`: the resource succeeded |
| 1 | `tail`, `submit --wait`, `stream`: it failed, the session ended before the audio did, or publishing failed |
| 1 | `bench`: a target was missed |
| 1 | `evaluate`: an item could not be processed, or the error rate is above `--fail-above` |
| 2 | the command line is wrong |
| 64 | the input is wrong: the file, the manifest, the value of an option |
| 66 | no such resource, namespace, context or object |
| 69 | something is missing here or in the cluster: a package, Steno itself, credentials |
| 70 | a bug: please report it |
| 71 | the work does not fit in memory |
| 73 | the output cannot be written |
| 75 | try again later: the server does not answer, or is full |
| 77 | not allowed |
| 130 | interrupted |
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager

import typer

EXIT_FAILED = 1
"""The resource itself failed."""
EXIT_INPUT = 64
"""From sysexits.h, like the codes below; the failure classes of the runtime use the same codes."""
EXIT_NOT_FOUND = 66
EXIT_UNAVAILABLE = 69
"""This machine or the cluster lacks something."""
EXIT_INTERNAL = 70
EXIT_CANNOT_WRITE = 73
EXIT_TEMPORARY = 75
EXIT_DENIED = 77
EXIT_INTERRUPTED = 130

THE_RUNTIME = "the runtime: in a checkout of Steno, `pip install ./api ./runtime ./client` (Python 3.11 or 3.12)"
"""What the pipelines on this machine need, and how to install it: the packages are not on a package index."""


class CommandError(Exception):
    """An error that ends a command; the text says what is wrong and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def report_errors(*, debug: bool = False) -> Generator[None]:
    """Turn an exception into one line on standard error and an exit code; `debug` shows tracebacks."""
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted", EXIT_INTERRUPTED)
    except CommandError as error:
        if debug:
            traceback.print_exc()
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if debug:
            raise
        _end(f"{error.name} is not installed: working without a cluster needs {THE_RUNTIME}", EXIT_UNAVAILABLE)
    except BrokenPipeError:  # `steno … | head`: the reader has gone
        sys.stderr.close()
        raise typer.Exit(0) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        _end(f"unexpected {type(error).__name__}: {line[:300]} (--debug shows where; please report it)", EXIT_INTERNAL)


def _end(message: str, code: int) -> None:
    typer.echo(f"steno: {' '.join(message.split())}", err=True)
    raise typer.Exit(code) from None
