"""What every cluster gets: test GPUs, storage, and an S3 server."""

from __future__ import annotations

import json
import string
import urllib.error
import urllib.request
from pathlib import Path

from hack import tools
from hack.cluster import config, node, registry
from hack.cluster.config import Cluster
from hack.paths import ROOT, write_atomic
from hack.steps import StepError, output, run, step, wait_for

MANIFESTS = ROOT / "hack" / "cluster" / "manifests"
_PROGRAMS = ("deviceplugin", "provisioner", "versitygw")


def kubectl(cluster: Cluster) -> list[str | Path]:
    """The beginning of a kubectl command line for a cluster."""
    return [tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig]


def render(text: str, images: dict[str, str]) -> str:
    """Fills a manifest's `${…}`; a name that is not known is an error."""
    values = {
        **images,
        "gpus": str(config.GPUS),
        "s3_access_key": config.S3_ACCESS_KEY,
        "s3_secret_key": config.S3_SECRET_KEY,
        "s3_region": config.S3_REGION,
        "s3_node_port": str(config.S3_NODE_PORT),
    }
    return string.Template(text).substitute(values)


def ensure(cluster: Cluster, node_image: str) -> None:
    """Installs the add-ons (unless these very ones are) and waits until they work."""
    names = ["gpus", "s3", *(["storage"] if node_image.startswith(node.OURS) else [])]
    tags = {name: registry.scratch_image(name, tools.path(name)) for name in _PROGRAMS}
    images = {name: config.reference(tag, registry.port()) for name, tag in tags.items()}
    manifest = "\n---\n".join(render((MANIFESTS / f"{name}.yaml").read_text(), images) for name in names)
    applied = cluster.folder / "addons.yaml"
    if not (
        applied.exists() and applied.read_text() == manifest and gpus(cluster) == config.GPUS and s3_answers(cluster)
    ):
        for tag in tags.values():
            registry.load(tag)
        with step("installing test GPUs, storage and S3"):
            options = ["apply", "--server-side", "--force-conflicts", "-f", "-"]
            run([*kubectl(cluster), *options], text=manifest, timeout=120)
            wait_for(f"the node has {config.GPUS} GPUs", lambda: gpus(cluster) == config.GPUS, timeout=120)
            wait_for(f"S3 answers on {cluster.s3_endpoint}", lambda: s3_answers(cluster), timeout=120)
            write_atomic(applied, manifest)


def gpus(cluster: Cluster) -> int:
    """How many GPUs the node can allocate; 0 when nobody answers."""
    try:
        nodes = json.loads(output([*kubectl(cluster), "get", "nodes", "-o", "json", "--request-timeout=10s"]))["items"]
    except StepError:
        return 0
    return sum(int(item["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for item in nodes)


def s3_answers(cluster: Cluster) -> bool:
    """Whether the S3 server answers on the host."""
    try:
        with urllib.request.urlopen(f"{cluster.s3_endpoint}/health", timeout=3) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
