"""steno-gateway: runs one replica."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

import uvicorn

from steno_api.json_logs import JsonFormatter
from steno_api.metrics_token import MetricsTokenError, read_token_digest
from steno_gateway.app import Gateway
from steno_gateway.settings import Settings
from steno_gateway.transports.metrics import serve_metrics
from steno_gateway.transports.websocket_client import MAX_FRAME_BYTES
from steno_kube.client import Cluster

DEFAULT_PORT = 8001
"""As the original engine's."""


def main() -> None:
    """Run until stopped."""
    parser = argparse.ArgumentParser(prog="steno-gateway", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings, as JSON")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a server in a pod
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--grpc-port", type=int, default=None, help="where gRPC is served; default: nowhere")
    parser.add_argument("--metrics-port", type=int, default=None, help="where /metrics is; default: nowhere")
    parser.add_argument("--metrics-token-file", type=Path, default=None, help="token of /metrics; default: none needed")
    arguments = parser.parse_args()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=os.environ.get("STENO_LOG_LEVEL", "INFO"), handlers=[handler])
    if arguments.metrics_port is not None:
        _serve_metrics(arguments.host, arguments.metrics_port, arguments.metrics_token_file)
    grpc_address = None if arguments.grpc_port is None else f"{arguments.host}:{arguments.grpc_port}"
    asyncio.run(_serve(Settings.load(arguments.config), arguments.host, arguments.port, grpc_address))


def _serve_metrics(host: str, port: int, token_file: Path | None) -> None:
    try:
        serve_metrics(host, port, None if token_file is None else read_token_digest(token_file))
    except MetricsTokenError as error:
        sys.exit(f"steno-gateway: the token of /metrics: {error}")


async def _serve(settings: Settings, host: str, port: int, grpc_address: str | None) -> None:
    cluster = await Cluster.connect("steno-gateway")
    try:
        gateway = Gateway(settings, cluster, grpc_address)
        config = uvicorn.Config(
            gateway.app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            log_level=logging.WARNING,  # else it logs the URLs of WebSockets, and keys in them
            timeout_graceful_shutdown=30,
            ws="websockets-sansio",
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            # Pings keep connections open through proxies. Whether a client is alive they do not show: its answer
            # waits behind its audio while the server is slow.
            ws_ping_interval=20.0,
            ws_ping_timeout=None,
        )
        await uvicorn.Server(config).serve()
    finally:
        await cluster.close()
