"""A Redis in a development cluster, for the queues of pools: image, Deployment, and the chart's values for it.

Separate because only clusters of the e2e tests have one.
"""

from __future__ import annotations

import json
import string

from hack import airgapped, docker, tools
from hack.airgapped import dockerd
from hack.cluster import Info
from hack.cluster.config import Cluster
from hack.cluster.loading import load
from hack.images import digest
from hack.paths import ROOT
from hack.steps import run, step

FOLDER = ROOT / "hack" / "cluster" / "redis"
SECRET = "queue-server"
"""In the operator's namespace, and in those of pools that serve a queue."""
CREDENTIALS = {"username": "default", "password": "steno-queue-password"}
VISIBILITY_SECONDS = 15
"""Short, as tests wait for it."""


def install(cluster: Info, namespace: str) -> dict[str, str]:
    """Run Redis in a cluster, and return the chart's values for it.

    Args:
        cluster: the cluster.
        namespace: of the operator.
    """
    image = f"steno/redis:{digest(FOLDER.iterdir())}"
    if not docker.image_exists(image):
        with step(f"building {image}"):
            docker.build(image, FOLDER, build_args={"BASE": dockerd.base_image()} if airgapped.chosen() else {})
    load(image, Cluster(cluster.name))
    manifest = string.Template((FOLDER / "redis.yaml").read_text()).substitute(
        image=image, password=CREDENTIALS["password"]
    )
    kubectl = [tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig]
    run([*kubectl, "apply", "-f", "-"], text=manifest)
    about = {"name": SECRET, "namespace": namespace}
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": CREDENTIALS}
    objects = {"apiVersion": "v1", "kind": "List", "items": [home, secret]}
    run([*kubectl, "apply", "-f", "-"], text=json.dumps(objects))
    run([*kubectl, "rollout", "status", "deployment/redis", "-n", "steno-queue", "--timeout=120s"], timeout=150)
    return {
        "queue.kind": "RedisStreams",
        "queue.url": "redis://redis.steno-queue.svc:6379/0",
        "queue.allowPlaintext": "true",
        "queue.credentialsSecret": SECRET,
        "queue.poolCredentialsSecret": SECRET,
        "queue.visibilitySeconds": str(VISIBILITY_SECONDS),
    }
