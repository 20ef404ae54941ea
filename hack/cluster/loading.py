"""Load a local image onto a cluster's node, under its local name."""

from __future__ import annotations

from hack import docker, tools
from hack.airgapped import image_store, node_image
from hack.cluster.config import Cluster
from hack.cluster.kind import kind_environment
from hack.paths import locked
from hack.steps import StepError, output, run, step


def load(image: str, cluster: Cluster) -> None:
    """Put an image onto the node unless it is there; pods name it as Docker does here.

    Raises:
        StepError: Docker has no such image, or it could not be transferred.
    """
    if not docker.image_exists(image):
        raise StepError(f"Docker has no image {image}: build it first")
    with locked("load"):
        if _has(cluster.node, image):
            return
        with step(f"loading {image}"):
            if image_of(cluster).startswith(node_image.REPOSITORY) and image_store.usable():
                image_store.load(image, cluster.node)
            else:
                words = ["load", "docker-image", image, "--name", cluster.name]
                run([tools.path("kind"), *words], env=kind_environment(), timeout=1800)


def image_of(cluster: Cluster) -> str:
    """Return the name of the image that the cluster's node runs."""
    return output(["docker", "inspect", "--format", "{{.Config.Image}}", cluster.node])


def _has(node: str, image: str) -> bool:
    """Return whether the node has this very image: one of another content may have had the name."""
    command = ["docker", "exec", node, "crictl", "inspecti", f"docker.io/{image}"]
    try:
        return docker.image_id(image) in output(command)
    except StepError:
        return False
