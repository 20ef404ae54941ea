"""`steno transcribe` and `steno ocr`: the pipelines of the cluster, on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from steno_client import options
from steno_client.errors import report_errors

if TYPE_CHECKING:
    from steno_client.output_files import OutputPaths, WriteFormat

app = typer.Typer()


@app.command()
def transcribe(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Audio or video file.", show_default=False),
    ],
    *,
    model: Annotated[
        str, typer.Option(help="Directory in the model store, Whisper size, or CTranslate2 model on Hugging Face.")
    ] = "large-v3",
    model_store: options.ModelStore = None,
    language: Annotated[
        str,
        typer.Option(
            "--language", "-l", callback=options.language, help="BCP 47 tag of the spoken language; auto: detect it."
        ),
    ] = "auto",
    languages: options.Languages = [],  # noqa: B006 - typer copies it
    translate: options.Translate = False,
    channels: Annotated[
        Literal["mix", "split"], typer.Option(help="split: each channel on its own, as a speaker.")
    ] = "mix",
    diarize: Annotated[bool, typer.Option("--diarize", help="Identify speakers.")] = False,
    min_speakers: Annotated[
        int | None, typer.Option(min=1, max=64, help="At least this many; implies --diarize.")
    ] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, max=64, help="At most this many; likewise.")] = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.formats_callback(options.TRANSCRIPT_FORMATS),
            metavar="FORMAT,…",
            help=f"Any of {', '.join(options.TRANSCRIPT_FORMATS)}.",
        ),
    ] = ["txt"],  # noqa: B006 - typer copies it
    output: options.Directory = "-",
    device: Annotated[
        Literal["auto", "cuda", "cpu"], typer.Option(help="Device to compute on; auto: a GPU if there is one.")
    ] = "auto",
    compute_type: Annotated[str, typer.Option(help="Compute type of CTranslate2: float16, int8, …")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=256, help="Windows decoded at once.", show_default="by memory")
    ] = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Transcribe FILE on this machine, without a cluster.

    The same pipeline as in a TranscriptionJob. With HF_TOKEN set, speakers are identified by pyannote's community-1.
    """
    if min_speakers and max_speakers and min_speakers > max_speakers:
        raise typer.BadParameter("--min-speakers is more than --max-speakers")
    options.require_detection(language, languages)
    if channels == "split" and (diarize or min_speakers is not None or max_speakers is not None):
        raise typer.BadParameter("with --channels split each channel is a speaker already: leave --diarize out")
    options.require_directory_for_several(formats, output)

    with report_errors(debug=debug):
        from steno_client import local, output_files, progress, terminal  # noqa: PLC0415 - they need the runtime
        from steno_runtime.stt.options import TranscriptionOptions  # noqa: PLC0415

        paths = output_files.prepare_outputs(file, formats, output)
        transcription = TranscriptionOptions(
            model=model,
            model_store=model_store or local.default_model_store(),
            language=None if language == "auto" else language,
            languages=tuple(languages),
            translate=translate,
            diarize=diarize or min_speakers is not None or max_speakers is not None,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            device=device,
            compute_type=compute_type,
            batch_size=batch_size,
            hf_token=os.environ.get("HF_TOKEN"),
            hub_downloads="Any",  # who names the model here runs it here
        )
        meter = progress.transcription_meter(diarize=transcription.diarize)
        with local.quiet_libraries(debug=debug), progress.progress_bar(meter, quiet=quiet) as on_progress:
            result = local.transcribe_file(file, transcription, on_progress, split_channels=channels == "split")
        _write_outputs(result.write, paths)
        terminal.print_warnings(result.warnings)


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
            help="BCP 47 tags such as en, ko or zh-Hant, the main one first; by default from the script of each page.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    engine: Annotated[
        Literal["auto", "tesseract", "rapidocr", "paddleocr"],
        typer.Option(help="OCR engine; auto: the best one for the script and kind of each page."),
    ] = "auto",
    pages: Annotated[str | None, typer.Option(help="Pages from 1, such as 1-20,25 or 3-.", show_default="all")] = None,
    mode: Annotated[
        Literal["skip", "redo", "force"],
        typer.Option(
            help="PDF pages with text: skip keeps the text, redo recognizes it again, force treats them as images."
        ),
    ] = "skip",
    model_store: options.ModelStore = None,
    triton: Annotated[
        str | None,
        typer.Option(
            envvar="STENO_TRITON_URL",
            metavar="URL",
            help="Triton server that runs the PP-OCR models: grpc://HOST:8001, or grpcs:// for TLS.",
            show_default="this machine",
        ),
    ] = None,
    triton_ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="STENO_TRITON_CA_FILE",
            metavar="FILE",
            help="CA certificates (PEM) to verify a grpcs:// server with.",
            show_default="the system's",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.formats_callback(options.PAGE_FORMATS),
            metavar="FORMAT,…",
            help=f"Any of {', '.join(options.PAGE_FORMATS)}; pdf: FILE with a text layer.",
        ),
    ] = ["txt"],  # noqa: B006 - typer copies it
    output: options.Directory = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Recognize the text of FILE on this machine, without a cluster.

    The same pipeline as in an OCRJob. If a page cannot be read, the others are still written.
    """
    options.require_directory_for_several(formats, output)

    with report_errors(debug=debug):
        from steno_client import local, output_files, progress, terminal  # noqa: PLC0415 - they need the runtime

        paths = output_files.prepare_outputs(file, formats, output)
        request = local.RecognitionRequest(
            file=file,
            model_store=model_store or local.default_model_store(),
            languages=tuple(languages),
            engine=engine,
            pages=pages,
            mode=mode,
            triton_url=triton,
            triton_ca_file=triton_ca_file,
        )
        with local.quiet_libraries(debug=debug), tempfile.TemporaryDirectory(prefix="steno-") as scratch:
            with progress.progress_bar(progress.recognition_meter(), quiet=quiet) as on_progress:
                result = local.recognize_file(request, Path(scratch), on_progress)
            _write_outputs(result.write, paths)
        terminal.print_warnings(result.warnings)


def _write_outputs(write: WriteFormat, paths: OutputPaths) -> None:
    from steno_client import output_files  # noqa: PLC0415 - not for `--help`

    for path in output_files.write_outputs(write, paths):
        typer.echo(path, err=True)
