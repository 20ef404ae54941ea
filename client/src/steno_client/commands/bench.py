"""`steno bench`: a server under load, and whether it meets the targets of latency, streams, failures and GPU use."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steno_client import options
from steno_client.errors import EXIT_INPUT, CommandError, report_errors

if TYPE_CHECKING:
    from steno_client.benchmark.targets import Measured
    from steno_client.target import Target

app = typer.Typer()


@app.command()
def bench(
    *,
    url: Annotated[str, typer.Option(help="ws:// or wss:// URL of the server or gateway.", show_default=False)],
    recording: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, show_default=False, help="Speech for live sessions; absent: none."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, show_default=False, help="Image or PDF to read; absent: none."),
    ] = None,
    streams: Annotated[int, typer.Option(min=1, max=10_000, help="Live sessions at a time.")] = 100,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="For which each of them speaks.")] = 30.0,
    documents: Annotated[int, typer.Option(min=1, max=100_000, help="How often the page is read.")] = 100,
    parallel: Annotated[int, typer.Option(min=1, max=1000, help="Documents at a time.")] = 4,
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with an API key, or with the tokens of as many StreamSessions as there are streams, one a line.",
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="STENO_TOKEN", show_envvar=True, help="The API key or token.")
    ] = None,
    ca_file: options.CaFile = None,
    debug: options.Debug = False,
) -> None:
    """Measure a server with documents, then with live sessions, and compare it with the targets.

    The exit code is 1 if a target is missed. Use of the GPUs is that of this machine, by nvidia-smi.
    """
    if recording is None and page is None:
        raise typer.BadParameter("give --recording FILE, --page FILE, or both")
    with report_errors(debug=debug):
        import asyncio  # noqa: PLC0415 - not for `--help`

        from steno_client.benchmark import load, targets  # noqa: PLC0415 - loads websockets and httpx

        where = _targets(url, _tokens(token, token_file, streams), ca_file)
        run = _measure(where, recording, page, seconds=seconds, documents=documents, parallel=parallel)
        measured = asyncio.run(load.with_gpu_use(run))
        for reason, count in Counter(measured.failures).most_common():
            typer.echo(f"{count} failed: {reason}", err=True)
        lines = targets.compare(measured)
        typer.echo(targets.table(lines))
        if any(line.passed is False for line in lines):
            raise typer.Exit(1)


async def _measure(
    where: list[Target], recording: Path | None, page: Path | None, *, seconds: float, documents: int, parallel: int
) -> Measured:
    from steno_client import audio  # noqa: PLC0415
    from steno_client.benchmark import load, targets  # noqa: PLC0415
    from steno_client.evaluation.recognisers import RecogniserOptions  # noqa: PLC0415
    from steno_client.evaluation.server import PoolServer  # noqa: PLC0415

    measured = targets.Measured()
    if page is not None:  # before the sessions: the token of one that has ended opens nothing
        with PoolServer(where[0], RecogniserOptions()) as server:
            server.check()
            measured = await load.documents(server, page, documents, parallel)
    if recording is not None:
        speech = audio.read_recording(recording)
        measured = load.combine(measured, await load.live_sessions(where, speech, seconds))
    return measured


def _targets(url: str, tokens: list[str | None], ca_file: Path | None) -> list[Target]:
    from steno_client.target import Target, complete_url  # noqa: PLC0415

    return [Target(complete_url(url), each, ca_file) for each in tokens]


def _tokens(token: str | None, file: Path | None, streams: int) -> list[str | None]:
    """Return the token of each session.

    Raises:
        CommandError: the file has some, but not enough.
    """
    from steno_client.target import read_token  # noqa: PLC0415

    found = (read_token(token, file) or "").split()
    if len(found) > 1 and len(found) < streams:
        raise CommandError(f"{file} has {len(found)} tokens for {streams} sessions", EXIT_INPUT)
    return [*found[:streams]] if len(found) > 1 else [found[0] if found else None] * streams
