"""`steno stream`: a recording, or what a recorder pipes in, to a StreamSession."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steno_client import options
from steno_client.errors import reported

app = typer.Typer()


def _file(given: str) -> str:
    if given != "-" and not Path(given).is_file():
        raise typer.BadParameter(f"file {given!r} does not exist")
    return given


@app.command()
def stream(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            callback=_file,
            show_default=False,
            help="Audio or video file; -: raw PCM (s16le, one channel) from standard input.",
        ),
    ],
    *,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="StreamSession to stream to; waits until it is ready.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="ws:// or wss:// URL of the server; with --session: where to reach it instead.")
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
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            "-l",
            callback=lambda given: given and options.language(given),
            help="ISO 639 code.",
            show_default="the session's",
        ),
    ] = None,
    partials: Annotated[bool, typer.Option(help="Show what is being said before it is final.")] = True,
    json_lines: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
    speed: Annotated[float, typer.Option(min=0.1, max=100.0, help="Times real time; - comes as it comes.")] = 1.0,
    sample_rate: Annotated[int, typer.Option(min=8000, max=48000, help="Of standard input, in Hz.")] = 16000,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Stream FILE to a session in real time, and print what is understood: partial text, then final.

    Ctrl-C ends the audio; what was said until then is still printed. A microphone:
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | steno stream - --session NAME
    """  # fmt: skip
    if session is None and url is None:
        raise typer.BadParameter("say where to: --session NAME, or --url ws://… with STENO_TOKEN or --token-file")
    with reported(debug=debug):
        import asyncio  # noqa: PLC0415 - not for `--help`

        from steno_client import audio, captions, streaming  # noqa: PLC0415 - loads websockets
        from steno_client import session as sessions_of  # noqa: PLC0415

        recording = None if file == "-" else audio.read(Path(file))
        if session is None:
            target = sessions_of.Target(sessions_of.endpoint(url or ""), sessions_of.token_of(token, token_file))
        else:
            from steno_client import kube, sessions  # noqa: PLC0415 - loads the Kubernetes client

            target = sessions.usable(kube.Cluster(kube.Where(namespace, context, kubeconfig)), session, url)
        asked = streaming.Options(recording.sample_rate if recording else sample_rate, language, partials)
        sound = audio.standard_input(sample_rate) if recording is None else audio.paced(recording, speed)
        with captions.Captions() as shown:
            asyncio.run(streaming.stream(target, sound, asked, captions.json_lines if json_lines else shown))
