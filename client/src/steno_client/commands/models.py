"""`steno models`: downloads speech and speaker models to the model store of this machine.

Separate because each group of commands is.
"""

from __future__ import annotations

from typing import Annotated

import typer

from steno_client import options
from steno_client.errors import CommandError, report_errors

app = typer.Typer(help="Models of this machine's store.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """Models of this machine's store."""


@app.command()
def download(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Such as large-v3, turbo or community-1.", show_default=False)
    ],
    *,
    model_store: options.ModelStore = None,
    debug: options.Debug = False,
) -> None:
    """Download models from Hugging Face, and check their digests. What was broken off goes on.

    The model of speakers, community-1, needs HF_TOKEN, of an account that accepted its licence.
    """
    with report_errors(debug=debug):
        from steno_api.failures import EXIT_CODES  # noqa: PLC0415 - not for `--help`
        from steno_client import local  # noqa: PLC0415 - it needs the runtime
        from steno_runtime.errors import WorkError  # noqa: PLC0415 - likewise
        from steno_runtime.models import download as models  # noqa: PLC0415 - likewise

        store = model_store or local.default_model_store()
        for name in names:
            try:
                typer.echo(models.download(store, name))
            except WorkError as error:
                raise CommandError(error.message, EXIT_CODES[error.reason.failure_class]) from error
