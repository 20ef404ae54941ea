"""Options of a server without a cluster, as `steno serve` and `steno-server --standalone` have them.

Whoever reaches the server may use it unless there are keys, so that without keys only this machine does. The names of
environment variables are those of Steno's other commands, and those that the original engine had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_api.worker.task import EgressRules
from steno_runtime.errors import WorkError
from steno_runtime.serve.unauthenticated import is_loopback

DEFAULT_PORT, DEFAULT_GRPC_PORT, DEFAULT_PROBE_PORT = 8001, 9090, 8081
DEFAULT_HOST = "127.0.0.1"
DEFAULT_MODEL = "large-v3"
DEFAULT_SESSIONS = 8

Device = Literal["auto", "cuda", "cpu"]


@dataclass(frozen=True, kw_only=True)
class StandaloneOptions:
    """What a server without a cluster is told."""

    model_store: Path
    model: str = DEFAULT_MODEL
    host: str = DEFAULT_HOST
    """Address that the ports are opened on."""
    port: int = DEFAULT_PORT
    """Of REST and WebSocket; 0: any, as for the others."""
    grpc_port: int = DEFAULT_GRPC_PORT
    probe_port: int = DEFAULT_PROBE_PORT
    """Of `/metrics`, `/livez` and `/readyz`."""
    keys: Path | None = None
    """File or directory with records of API keys; None: no key is needed."""
    audio_root: Path | None = None
    """Directory below which `audio_url` may be a path."""
    allow_sources: tuple[str, ...] = ()
    """URL prefixes that `audio_url` may be under."""
    allow_networks: tuple[str, ...] = ()
    """Networks (CIDR) that these URLs may lead to although they are denied elsewhere, such as loopback."""
    device: Device = "auto"
    batch_size: int | None = None
    """Windows decoded at once; None: by the device."""
    max_sessions: int = DEFAULT_SESSIONS

    def task(self, scratch: Path) -> PoolTask:
        """Return the task of the server.

        Args:
            scratch: directory for its files.

        Raises:
            WorkError: `InvalidSpec`: the options do not go together, or have no legal value.
        """
        if self.keys is None and not is_loopback(self.host):
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"Others can reach {self.host}, so that clients need keys: make one with `steno key create --file "
                f"keys.json` and give --keys keys.json, or listen on {DEFAULT_HOST}.",
            )
        try:
            return PoolTask(
                pool=ObjectRef(namespace="local", name="local", uid="local"),
                tenant="local",
                model=SpeechModel(name=self.model, batch_size=self.batch_size or "Auto"),
                model_store=str(self.model_store),
                hub_downloads="Any",  # who names the model runs it here
                device=self.device,
                scratch_dir=str(scratch),
                max_sessions=self.max_sessions,
                token_keys=[],
                anonymous=self.keys is None,
                api_keys=None if self.keys is None else str(self.keys),
                audio_root=None if self.audio_root is None else str(self.audio_root),
                allowed_sources=list(self.allow_sources),
                egress=EgressRules(allowed_networks=list(self.allow_networks)),
                host=self.host,
                http_port=self.port,
                grpc_port=self.grpc_port,
                probe_port=self.probe_port,
            )
        except ValidationError as error:
            names = {_option(str(item["loc"][0])) for item in error.errors(include_input=False)}
            message = f"Options that have no legal value: {', '.join(sorted(names))}."
            raise WorkError(FailureReason.INVALID_SPEC, message) from None


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says of the options, as text, by their names; empty variables say nothing."""
    names = {
        "model": ("STENO_MODEL",),
        "model_store": ("STENO_MODEL_STORE",),
        "host": ("STENO_HOST",),
        "port": ("STENO_PORT", "PORT"),
        "grpc_port": ("STENO_GRPC_PORT",),
        "probe_port": ("STENO_PROBE_PORT",),
        "keys": ("STENO_KEYS",),
        "audio_root": ("STENO_AUDIO_ROOT",),
        "allow_source": ("STENO_ALLOW_SOURCE",),
        "allow_network": ("STENO_ALLOW_NETWORK",),
        "device": ("STENO_DEVICE",),
        "batch_size": ("WHISPER_BATCH_SIZE",),
        "max_sessions": ("STENO_MAX_SESSIONS",),
    }
    found = {option: next(filter(None, map(environ.get, among)), None) for option, among in names.items()}
    return {option: value for option, value in found.items() if value is not None}


def _option(field: str) -> str:
    """Return the option that sets a field of the task."""
    return "--model" if field == "name" else "--" + re.sub("_?([A-Z])", r"-\1", field).replace("_", "-").lower()
