"""What a cluster is made of: names, ports and kind's configuration, without any I/O but reading `hack/kind.yaml`."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from hack.paths import ROOT, cache
from hack.steps import StepError

DEFAULT_NAME = "steno-demo"
KIND_CONFIG = ROOT / "hack" / "kind.yaml"
GPUS = 4
S3_NODE_PORT = 30070
STREAM_HTTP_NODE_PORT = 30081
STREAM_GRPC_NODE_PORT = 30091
"""Node ports that a RuntimePool's Service may take, so that clients on the host reach its sessions."""
S3_IN_CLUSTER = "http://s3.steno-s3.svc:7070"
S3_ACCESS_KEY = "steno"
S3_SECRET_KEY = "steno-secret-key"
S3_REGION = "us-east-1"
FIRST_PORT = 20000
PORTS_EACH = 4
CLUSTERS = 2000


@dataclass(frozen=True)
class Cluster:
    """One cluster; everything of it follows from its name."""

    name: str

    def __post_init__(self) -> None:
        """Refuse names that kind or Docker would."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
            raise StepError(
                f"{self.name!r} is not a cluster name: at most 40 lower-case letters, digits and '-', not at the ends"
            )

    @property
    def node(self) -> str:
        """The node's container."""
        return f"{self.name}-control-plane"

    @property
    def folder(self) -> Path:
        """Where this machine keeps what belongs to the cluster."""
        return cache() / "clusters" / self.name

    @property
    def kubeconfig(self) -> Path:
        """The cluster's kubeconfig; no other is ever written."""
        return self.folder / "kubeconfig"

    @property
    def api_port(self) -> int:
        """The host's port of the API server."""
        return FIRST_PORT + PORTS_EACH * (zlib.crc32(self.name.encode()) % CLUSTERS)

    @property
    def s3_port(self) -> int:
        """The host's port of the S3 server."""
        return self.api_port + 1

    @property
    def stream_http_port(self) -> int:
        """The host's port of the sessions' WebSocket and REST server."""
        return self.api_port + 2

    @property
    def stream_grpc_port(self) -> int:
        """The host's port of the sessions' gRPC server."""
        return self.api_port + 3

    @property
    def port_mappings(self) -> dict[int, int]:
        """Node ports by the host's ports that lead to them."""
        return {
            self.s3_port: S3_NODE_PORT,
            self.stream_http_port: STREAM_HTTP_NODE_PORT,
            self.stream_grpc_port: STREAM_GRPC_NODE_PORT,
        }

    @property
    def s3_endpoint(self) -> str:
        """The S3 server as the host sees it."""
        return f"http://127.0.0.1:{self.s3_port}"


def kind_config(cluster: Cluster) -> str:
    """Return `hack/kind.yaml` with the cluster's own ports on the host."""
    text = re.sub(r"(?m)(apiServerPort:) \d+", rf"\1 {cluster.api_port}", KIND_CONFIG.read_text())
    for port, node_port in cluster.port_mappings.items():
        text = text.replace(f"hostPort: {node_port},", f"hostPort: {port},")
    return text
