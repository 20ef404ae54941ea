"""Entry point of `steno` and `kubectl steno`: the Typer application that the commands register with.

Apart from `commands`, because it is what the installed scripts load. Commands import what they need when they run, so
that `steno --help` and shell completion answer at once.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from steno_client.commands import bench, evaluate, jobs, key, local, models, serve, stream, submit

app = typer.Typer(
    name="steno",
    help="Speech and scans to text, on your own machines and clusters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"steno {version('steno-client')}")
        raise typer.Exit


@app.callback()
def steno(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Speech and scans to text, on your own machines and clusters."""


app.add_typer(local.app)
app.add_typer(serve.app)
app.add_typer(models.app, name="models")
app.add_typer(submit.app, name="submit")
app.add_typer(jobs.app)
app.add_typer(stream.app)
app.add_typer(evaluate.app)
app.add_typer(bench.app)
app.add_typer(key.app, name="key")


def main() -> None:
    """Run the program."""
    app()
