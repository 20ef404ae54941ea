"""What every cluster gets: test GPUs, an S3 server, and storage where kind brings none."""

from __future__ import annotations

import json
import string
import urllib.error
import urllib.request
from pathlib import Path

from hack import docker, tools
from hack.airgapped import node_image, program_image
from hack.cluster import config
from hack.cluster.config import Cluster
from hack.cluster.loading import load
from hack.paths import ROOT, write_atomic
from hack.steps import StepError, output, run, step, wait_for

GPUS = ROOT / "hack" / "cluster" / "manifests" / "gpus.yaml"
S3 = ROOT / "hack" / "cluster" / "manifests" / "s3.yaml"
STORAGE = ROOT / "hack" / "airgapped" / "storage.yaml"
VERSITYGW = "versity/versitygw:v1.8.0"
"""The S3 server, from a registry; where none answers, the same version is built."""


def kubectl(cluster: Cluster) -> list[str | Path]:
    """Return the beginning of a kubectl command line for a cluster."""
    return [tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig]


def render(text: str, images: dict[str, str]) -> str:
    """Fill a manifest's `${…}`; an unknown name is an error."""
    values = {
        **images,
        "gpus": str(config.GPUS),
        "s3_access_key": config.S3_ACCESS_KEY,
        "s3_secret_key": config.S3_SECRET_KEY,
        "s3_region": config.S3_REGION,
        "s3_node_port": str(config.S3_NODE_PORT),
    }
    return string.Template(text).substitute(values)


def ensure(cluster: Cluster, node: str) -> None:
    """Install the add-ons, unless these very ones are there, and wait until they work.

    Args:
        cluster: the cluster.
        node: the name of its node's image.
    """
    stock = not node.startswith(node_image.REPOSITORY)
    manifests = [GPUS, S3, *([] if stock else [STORAGE])]
    programs = ["deviceplugin", *([] if stock else ["provisioner"])]
    images = {name: program_image.build(name) for name in programs}
    images["versitygw"] = VERSITYGW if stock and docker.pull(VERSITYGW) else program_image.build("versitygw")
    manifest = "\n---\n".join(render(path.read_text(), images) for path in manifests)
    applied = cluster.folder / "addons.yaml"
    if not (
        applied.exists() and applied.read_text() == manifest and gpus(cluster) == config.GPUS and s3_answers(cluster)
    ):
        for image in images.values():
            load(image, cluster)
        with step("installing test GPUs, storage and S3"):
            options = ["apply", "--server-side", "--force-conflicts", "-f", "-"]
            run([*kubectl(cluster), *options], text=manifest, timeout=120)
            wait_for(f"the node has {config.GPUS} GPUs", lambda: gpus(cluster) == config.GPUS, timeout=120)
            wait_for(f"S3 answers on {cluster.s3_endpoint}", lambda: s3_answers(cluster), timeout=120)
            write_atomic(applied, manifest)


def gpus(cluster: Cluster) -> int:
    """Return how many GPUs the node can allocate; 0 when the cluster does not answer."""
    try:
        nodes = json.loads(output([*kubectl(cluster), "get", "nodes", "-o", "json", "--request-timeout=10s"]))["items"]
    except StepError:
        return 0
    return sum(int(item["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for item in nodes)


def s3_answers(cluster: Cluster) -> bool:
    """Return whether the S3 server answers on the host."""
    try:
        with urllib.request.urlopen(f"{cluster.s3_endpoint}/health", timeout=3) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
