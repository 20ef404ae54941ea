"""How a command ends: one line that says what is wrong and what to do, and an exit code by the class of failure."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

EXIT_UNAVAILABLE = 69
"""Something this machine lacks (after sysexits.h)."""
EXIT_INTERNAL = 70
EXIT_CANNOT_WRITE = 73
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot go on; the text says why and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def reported(*, debug: bool = False) -> Generator[None]:
    """Turns what goes wrong inside into one line on standard error and an exit code; `debug` shows tracebacks."""
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted", EXIT_INTERRUPTED)
    except CommandError as error:
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if debug:
            raise
        _end(
            f"{error.name} is not installed: transcribing here needs `pip install 'steno-client[local]'`",
            EXIT_UNAVAILABLE,
        )
    except BrokenPipeError:  # `steno … | head`: nobody reads on
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
    typer.echo(f"steno: {message}", err=True)
    raise typer.Exit(code) from None
