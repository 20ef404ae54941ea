"""What a cluster is made of: names, ports and kind's configuration. Pure."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from hack.paths import cache
from hack.steps import StepError

DEFAULT_NAME = "steno-demo"
REGISTRY = "steno-registry"
REGISTRY_PORT = 5001
NETWORK = "kind"
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
    """One cluster, told by its name alone."""

    name: str

    def __post_init__(self) -> None:
        """Refuses names that kind or Docker would."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
            msg = f"{self.name!r} is no cluster name: at most 40 lower-case letters, digits and '-', no '-' at the ends"
            raise StepError(msg)

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
        """The host's port of the streams' WebSocket and REST server."""
        return self.api_port + 2

    @property
    def stream_grpc_port(self) -> int:
        """The host's port of the streams' gRPC server."""
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
    """Kind's configuration of a cluster (JSON, which is YAML)."""
    fast = {"kube-api-qps": "1000", "kube-api-burst": "2000"}
    manager = {**fast, "concurrent-job-syncs": "50", "concurrent-deployment-syncs": "20"}
    patches = [
        {
            "kind": "ClusterConfiguration",
            "apiVersion": "kubeadm.k8s.io/v1beta3",  # what kind writes for Kubernetes before 1.36
            "controllerManager": {"extraArgs": manager},
            "scheduler": {"extraArgs": fast},
            "etcd": {"local": {"extraArgs": {"unsafe-no-fsync": "true"}}},
        },
        {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "failCgroupV1": False,
            "serializeImagePulls": False,
        },
    ]
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"apiServerAddress": "127.0.0.1", "apiServerPort": cluster.api_port},
        "kubeadmConfigPatches": [json.dumps(patch) for patch in patches],
        "containerdConfigPatches": [
            '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n',
            '[plugins."io.containerd.grpc.v1.cri".containerd]\n  discard_unpacked_layers = true\n',
        ],
        "nodes": [
            {
                "role": "control-plane",
                "extraPortMappings": [
                    {"containerPort": node_port, "hostPort": port, "listenAddress": "127.0.0.1"}
                    for port, node_port in cluster.port_mappings.items()
                ],
            }
        ],
    }
    return json.dumps(config, indent=1)


def hosts_toml() -> str:
    """How the node's containerd reaches the registry that the host calls `localhost:<port>`."""
    return f'[host."http://{REGISTRY}:5000"]\n  capabilities = ["pull", "resolve"]\n'


def reference(image: str, port: int) -> str:
    """The registry's reference of a local image: `steno/x:1` → `localhost:5001/steno/x:1`."""
    host = f"localhost:{port}/"
    if image.startswith(host):
        return image
    first = image.split("/", 1)[0]
    if "/" in image and ("." in first or ":" in first or first == "localhost"):
        msg = f"{image} names another registry: load takes local images such as steno/runtime:1"
        raise StepError(msg)
    return host + (image if ":" in image.rsplit("/", 1)[-1] else f"{image}:latest")
