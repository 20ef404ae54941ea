"""The program `steno`: its commands, their options, and how errors leave it.

Commands import what they need when they run, so that `steno --help` and shell completion answer at once.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from steno_client.errors import reported

app = typer.Typer(
    name="steno",
    help="Speech to text on your own machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FORMATS = ("json", "srt", "vtt", "txt")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"steno {version('steno-client')}")
        raise typer.Exit


@app.callback()
def steno(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Speech to text on your own machines."""


def _formats(given: list[str]) -> list[str]:
    """Checks `--format json,srt` and repeated `--format`s; each format once, in the order given."""
    formats = list(dict.fromkeys(part.strip() for value in given for part in value.split(",") if part.strip()))
    if unknown := [name for name in formats if name not in FORMATS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(FORMATS)}")
    if not formats:
        raise typer.BadParameter(f"name at least one of {', '.join(FORMATS)}")
    return formats


def _language(given: str) -> str:
    """Checks an ISO 639 code."""
    if given != "auto" and not re.fullmatch(r"[a-z]{2,3}", given):
        raise typer.BadParameter(f"{given!r} is no language code: give one such as en, ko or de, or auto")
    return given


@app.command()
def transcribe(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Audio or video file.", show_default=False),
    ],
    *,
    model: Annotated[
        str, typer.Option(help="Directory of the model store, Whisper size, or CTranslate2 model on Hugging Face.")
    ] = "large-v3",
    model_store: Annotated[
        Path | None,
        typer.Option(
            envvar="STENO_MODEL_STORE",
            help="Directory of models, one folder each; tried before any download.",
            show_default="~/.cache/steno/models",
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(callback=_language, help="ISO 639 code of the spoken language; auto: detect it.")
    ] = "auto",
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell speakers apart.")] = False,
    min_speakers: Annotated[
        int | None, typer.Option(min=1, max=64, help="At least this many; implies --diarize.")
    ] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, max=64, help="At most this many; likewise.")] = None,
    formats: Annotated[
        list[str],
        typer.Option("--format", "-f", callback=_formats, metavar="FORMAT,…", help=f"Any of {', '.join(FORMATS)}."),
    ] = ["txt"],  # noqa: B006 - typer copies it
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Where FILE.<format> is written; - prints it.")
    ] = "-",
    device: Annotated[
        Literal["auto", "cuda", "cpu"], typer.Option(help="What computes; auto: a GPU if there is one.")
    ] = "auto",
    compute_type: Annotated[str, typer.Option(help="As CTranslate2 names it: float16, int8, …")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=256, help="Windows decoded at once.", show_default="by memory")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show libraries' warnings, and a traceback on errors.")
    ] = False,
) -> None:
    """Transcribe FILE on this machine, without a cluster.

    The same pipeline as in a TranscriptionJob. With HF_TOKEN set, speakers are told apart by pyannote's community-1.
    """
    if min_speakers and max_speakers and min_speakers > max_speakers:
        raise typer.BadParameter("--min-speakers is more than --max-speakers")
    if output == "-" and len(formats) > 1:
        raise typer.BadParameter(f"{len(formats)} formats need a directory: add --output DIR")

    with reported(debug=debug):
        from steno_client import local, progress, publish  # noqa: PLC0415 - they need the runtime

        targets = publish.targets(file, formats, output)
        request = local.Request(
            file=file,
            model=model,
            model_store=model_store or local.default_model_store(),
            language=None if language == "auto" else language,
            diarize=diarize or min_speakers is not None or max_speakers is not None,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            device=device,
            compute_type=compute_type,
            batch_size=batch_size,
        )
        with local.quiet_libraries(debug=debug), progress.shown(diarize=request.diarize, quiet=quiet) as on_progress:
            transcript = local.transcribe(request, on_progress)
        publish.publish(transcript, targets)


def main() -> None:
    """Runs the program."""
    app()
