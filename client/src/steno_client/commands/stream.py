"""`steno stream`: send a recording, or live audio from standard input, to a StreamSession."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steno_client import options
from steno_client.errors import report_errors

if TYPE_CHECKING:
    from steno_client.target import ServerOverride, Target

app = typer.Typer()


def _check_file(given: str) -> str:
    if given != "-" and not Path(given).is_file():
        raise typer.BadParameter(f"file {given!r} does not exist")
    return given


@app.command()
def stream(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            callback=_check_file,
            show_default=False,
            help="Audio or video file; -: raw PCM (s16le, one channel) from standard input.",
        ),
    ],
    *,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="StreamSession to stream to; waits until it is ready.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="ws:// or wss:// URL of the server; overrides the endpoint of --session."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the session's token.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="STENO_TOKEN",
            show_envvar=True,
            help="The token. Better in the environment: the command line is visible to others.",
        ),
    ] = None,
    ca_file: options.CaFile = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            "-l",
            callback=lambda given: given and options.language(given),
            help="BCP 47 tag.",
            show_default="the session's",
        ),
    ] = None,
    languages: options.Languages = [],  # noqa: B006 - typer copies it
    partials: Annotated[bool, typer.Option(help="Show text before it is final.")] = True,
    json_lines: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
    speed: Annotated[
        float, typer.Option(min=0.1, max=100.0, help="Multiple of real time; - is sent as it arrives.")
    ] = 1.0,
    sample_rate: Annotated[
        int, typer.Option(min=8000, max=48000, help="Sample rate of standard input, in Hz.")
    ] = 16000,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Stream FILE to a session in real time, and print the transcript: partial text, then final text.

    Ctrl-C ends the audio; what was said before it is still printed. From a microphone:
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | steno stream - --session NAME
    """  # fmt: skip
    if session is None and url is None:
        raise typer.BadParameter("give --session NAME, or --url ws://… with STENO_TOKEN or --token-file")
    options.require_detection(language, languages)
    with report_errors(debug=debug):
        import asyncio  # noqa: PLC0415 - not for `--help`

        from steno_client import audio, streaming, terminal  # noqa: PLC0415 - loads websockets
        from steno_client.target import ServerOverride, Target, complete_url, read_token  # noqa: PLC0415

        recording = None if file == "-" else audio.read_recording(Path(file))
        if recording is not None:
            terminal.print_warnings(recording.warnings)
        if session is None:
            target = Target(complete_url(url or ""), read_token(token, token_file), ca_file)
        else:
            target = wait_for_session(session, ServerOverride(url, ca_file), namespace, context, kubeconfig)
        request = streaming.SessionRequest(
            recording.sample_rate if recording else sample_rate, language, partials, languages
        )
        chunks = audio.read_standard_input(sample_rate) if recording is None else audio.read_paced(recording, speed)
        with terminal.EventPrinter() as printer:
            on_event = terminal.print_as_json if json_lines else printer
            asyncio.run(streaming.stream_audio(target, chunks, request, on_event))


def wait_for_session(
    session: str, override: ServerOverride, namespace: str | None, context: str | None, kubeconfig: Path | None
) -> Target:
    """Wait until a StreamSession is ready, and show meanwhile what it waits for.

    Args:
        session: its name.
        override: what the command line says of its server.
        namespace: of the session; None: the context's.
        context: of the kubeconfig; None: the current one.
        kubeconfig: to use; None: the default.

    Raises:
        CommandError: it is not ready and will not be.
    """
    from steno_client import formatting, kube, ready_session, terminal  # noqa: PLC0415 - loads the Kubernetes client

    cluster = kube.Cluster(kube.ClusterContext(namespace, context, kubeconfig))
    with terminal.StatusLine(sys.stderr) as line:
        return ready_session.wait_until_ready(
            cluster, session, override, lambda one: line.update(formatting.progress_line(one)), line.update
        )
