"""`steno transcribe` and `steno ocr`: the cluster's pipelines, on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from steno_client import options
from steno_client.errors import reported

app = typer.Typer()


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
    model_store: options.ModelStore = None,
    language: Annotated[
        str,
        typer.Option(
            "--language", "-l", callback=options.language, help="ISO 639 code of the spoken language; auto: detect it."
        ),
    ] = "auto",
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell speakers apart.")] = False,
    min_speakers: Annotated[
        int | None, typer.Option(min=1, max=64, help="At least this many; implies --diarize.")
    ] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, max=64, help="At most this many; likewise.")] = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.formats_of(options.TRANSCRIPT_FORMATS),
            metavar="FORMAT,…",
            help=f"Any of {', '.join(options.TRANSCRIPT_FORMATS)}.",
        ),
    ] = ["txt"],  # noqa: B006 - typer copies it
    output: options.Directory = "-",
    device: Annotated[
        Literal["auto", "cuda", "cpu"], typer.Option(help="What computes; auto: a GPU if there is one.")
    ] = "auto",
    compute_type: Annotated[str, typer.Option(help="As CTranslate2 names it: float16, int8, …")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=256, help="Windows decoded at once.", show_default="by memory")
    ] = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Transcribe FILE on this machine, without a cluster.

    The same pipeline as in a TranscriptionJob. With HF_TOKEN set, speakers are told apart by pyannote's community-1.
    """
    if min_speakers and max_speakers and min_speakers > max_speakers:
        raise typer.BadParameter("--min-speakers is more than --max-speakers")
    options.one_file_per_output(formats, output)

    with reported(debug=debug):
        from steno_client import local, progress, publish  # noqa: PLC0415 - they need the runtime

        targets = publish.targets(file, formats, output)
        request = local.Transcription(
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
        meter = progress.speech(diarize=request.diarize)
        with local.quiet_libraries(debug=debug), progress.shown(meter, quiet=quiet) as on_progress:
            document = local.transcribe(request, on_progress)
        publish.publish(document.write, targets)


@app.command()
def ocr(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="PNG, JPEG, TIFF or PDF.", show_default=False),
    ],
    *,
    languages: Annotated[
        list[str],
        typer.Option(
            "--language",
            "-l",
            callback=options.comma_separated,
            metavar="TAG,…",
            help="BCP 47 tags such as en, ko or zh-Hant, the main one first; none: told by each page's script.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    engine: Annotated[
        Literal["auto", "tesseract", "rapidocr", "paddleocr"],
        typer.Option(help="What reads; auto: what reads the page's script and kind best."),
    ] = "auto",
    pages: Annotated[str | None, typer.Option(help="Pages from 1, such as 1-20,25 or 3-.", show_default="all")] = None,
    mode: Annotated[
        Literal["skip", "redo", "force"],
        typer.Option(
            help="Pages of a PDF that carry text: skip takes it, redo reads them, force reads them as pictures."
        ),
    ] = "skip",
    model_store: options.ModelStore = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.formats_of(options.PAGE_FORMATS),
            metavar="FORMAT,…",
            help=f"Any of {', '.join(options.PAGE_FORMATS)}; pdf: FILE with a layer of text.",
        ),
    ] = ["txt"],  # noqa: B006 - typer copies it
    output: options.Directory = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Read the text of FILE on this machine, without a cluster.

    The same pipeline as in an OCRJob. A page that cannot be read does not keep the others from being written.
    """
    options.one_file_per_output(formats, output)

    with reported(debug=debug):
        from steno_client import local, progress, publish  # noqa: PLC0415 - they need the runtime

        targets = publish.targets(file, formats, output)
        request = local.Recognition(
            file=file,
            model_store=model_store or local.default_model_store(),
            languages=tuple(languages),
            engine=engine,
            pages=pages,
            mode=mode,
        )
        with local.quiet_libraries(debug=debug), tempfile.TemporaryDirectory(prefix="steno-") as scratch:
            with progress.shown(progress.ocr(), quiet=quiet) as on_progress:
                document = local.recognise(request, Path(scratch), on_progress)
            publish.publish(document.write, targets)
        if document.unread:
            typer.echo(f"steno: {document.unread} page(s) could not be read: --format json says why", err=True)
