"""`steno serve`: the runtime's server on this machine, like `vllm serve`: the original engines' `python main.py`.

The options are `steno_runtime.serve.standalone.StandaloneOptions`, which the runtime image has as `steno-server
--standalone`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from steno_client import options
from steno_client.errors import report_errors

app = typer.Typer()

_ACCESS, _SOURCES, _PORTS = "Access", "Recordings that requests name", "Addresses"


@app.command()
def serve(
    *,
    model: Annotated[
        str,
        typer.Option(
            envvar="STENO_MODEL",
            help="Directory in the model store, Whisper size, or CTranslate2 model on Hugging Face.",
        ),
    ] = "large-v3",
    model_store: options.ModelStore = None,
    device: Annotated[
        Literal["auto", "cuda", "cpu"],
        typer.Option(envvar="STENO_DEVICE", help="Device to compute on; auto: a GPU if there is one."),
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            envvar="WHISPER_BATCH_SIZE", min=1, max=256, help="Windows decoded at once.", show_default="by memory"
        ),
    ] = None,
    max_sessions: Annotated[int, typer.Option(envvar="STENO_MAX_SESSIONS", min=1, help="Live sessions at a time.")] = 8,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="STENO_KEYS",
            metavar="PATH",
            help="File or directory with the records of API keys (steno key create --file PATH).",
            show_default="no key is needed, on loopback",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            envvar="STENO_HOST", help="Address to listen on; any but loopback needs --keys.", rich_help_panel=_PORTS
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar=["STENO_PORT", "PORT"], min=0, max=65535, help="Port of REST and WebSocket.", rich_help_panel=_PORTS
        ),
    ] = 8001,
    grpc_port: Annotated[
        int, typer.Option(envvar="STENO_GRPC_PORT", min=0, max=65535, help="Port of gRPC.", rich_help_panel=_PORTS)
    ] = 9090,
    probe_port: Annotated[
        int,
        typer.Option(
            envvar="STENO_PROBE_PORT",
            min=0,
            max=65535,
            help="Port of /metrics, which needs no key.",
            rich_help_panel=_PORTS,
        ),
    ] = 8081,
    audio_root: Annotated[
        Path | None,
        typer.Option(
            envvar="STENO_AUDIO_ROOT",
            metavar="DIR",
            help="Directory below which audio_url may be a path.",
            show_default="paths are refused",
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    allow_source: Annotated[
        list[str],
        typer.Option(
            envvar="STENO_ALLOW_SOURCE",
            metavar="PREFIX",
            help="URLs that audio_url may be under, such as https://files.example.com/calls or s3://recordings.",
            rich_help_panel=_SOURCES,
        ),
    ] = [],  # noqa: B006 - typer copies it
    allow_network: Annotated[
        list[str],
        typer.Option(
            envvar="STENO_ALLOW_NETWORK",
            metavar="CIDR",
            help="Networks that these may lead to although they are denied, such as 127.0.0.0/8.",
            rich_help_panel=_SOURCES,
        ),
    ] = [],  # noqa: B006 - typer copies it
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(help="Of the log on stderr.")] = (
        "INFO"
    ),
    debug: options.Debug = False,
) -> None:
    """Serve REST, WebSocket and gRPC from this machine, without a cluster.

    With HF_TOKEN set, speakers are identified by pyannote's community-1. Ctrl-C ends it.
    """
    with report_errors(debug=debug):
        from steno_client import local  # noqa: PLC0415 - it needs the runtime
        from steno_runtime.serve import main as server  # noqa: PLC0415 - likewise
        from steno_runtime.serve.standalone import StandaloneOptions  # noqa: PLC0415 - likewise

        given = StandaloneOptions(
            model=model,
            model_store=model_store or local.default_model_store(),
            host=host,
            port=port,
            grpc_port=grpc_port,
            probe_port=probe_port,
            keys=keys,
            audio_root=audio_root,
            allow_sources=tuple(allow_source),
            allow_networks=tuple(allow_network),
            device=device,
            batch_size=batch_size,
            max_sessions=max_sessions,
        )
        local.disable_telemetry()
        code = server.serve_standalone(given, log_level)
    server.end(code)
