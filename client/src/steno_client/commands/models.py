"""`steno models`: downloads models to the store of this machine, and writes them as other servers take them.

Separate because each group of commands is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


@app.command("export-triton")
def export_triton(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Model repository to write: a new or empty directory.")
    ],
    backend: Annotated[
        Literal["onnxruntime", "python"],
        typer.Option(help="What the server runs ONNX models with; python: one without the onnxruntime backend."),
    ] = "onnxruntime",
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Device that the models run on.")] = "cpu",
    instances: Annotated[int, typer.Option(min=1, max=64, help="Of each model, side by side.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="CPU threads of each instance.")] = 1,
    debug: options.Debug = False,
) -> None:
    """Write a model repository for a Triton Inference Server: PP-OCR's detection and recognition.

    `steno-manifest.json` in it has a digest of every file. Serve it with tritonserver --model-repository=DIR, and read
    documents with steno ocr --triton grpc://HOST:8001.
    """
    with report_errors(debug=debug):
        from steno_api.failures import EXIT_CODES  # noqa: PLC0415
        from steno_runtime.errors import WorkError  # noqa: PLC0415 - they need the runtime
        from steno_runtime.triton import repository  # noqa: PLC0415

        chosen = repository.ExportOptions(backend=backend, device=device, instances=instances, threads=threads)
        try:
            manifest = repository.export(output, chosen)
        except WorkError as error:
            raise CommandError(error.message, EXIT_CODES[error.reason.failure_class]) from error
        for file in manifest["files"]:
            typer.echo(f"{file['sha256']}  {file['path']}")
