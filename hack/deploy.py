"""`make deploy`: Steno on a development cluster: images built and loaded, the chart installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from hack import images, queue_server, tools
from hack.cluster import DEFAULT_NAME, Info, up
from hack.paths import ROOT
from hack.steps import main, run, step

NAMESPACE = "steno-system"
RELEASE = "steno"

FOR_DEVELOPMENT = {
    "settings.backoffBaseSeconds": "2",
    "runtimeProfiles.gpu.resources.requests.cpu": "100m",
    "runtimeProfiles.cpu.resources.requests.cpu": "100m",
    "runtimeProfiles.gpu.resources.requests.memory": "1Gi",
    "runtimeProfiles.cpu.resources.requests.memory": "1Gi",
}
"""Two cores run everything here: small requests, short waits between attempts."""


GATEWAY_BUCKET = "gateway"
_GATEWAY_SECRET = "gateway-store"


def deploy(cluster: Info, *, gateway: bool = False, queue: bool = False) -> None:
    """Build what changed, load it, and install or upgrade the chart.

    Args:
        cluster: the cluster.
        gateway: whether the gateway is installed as well, with the cluster's S3 server as its store.
        queue: whether the cluster gets a Redis, for queues of pools.
    """
    with step("images"):
        images.build_and_load(cluster.name)
    with step("installing the chart"):
        values = _gateway(cluster) if gateway else {}
        helm_upgrade(cluster, {**values, **(queue_server.install(cluster, NAMESPACE) if queue else {})})


def helm_upgrade(cluster: Info, values: Mapping[str, str]) -> None:
    """`helm upgrade --install` of the images that the sources make, waiting until the operator is ready.

    Args:
        cluster: the cluster.
        values: more of the chart's values by their dotted names.
    """
    built = images.references()
    made = {"image.reference": built.operator, "runtime.image.reference": built.runtime}
    helm(cluster, {**made, **FOR_DEVELOPMENT, **values})


def _gateway(cluster: Info) -> dict[str, str]:
    """Create the Secret of the gateway's credentials, and return the chart's values."""
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": _GATEWAY_SECRET, "namespace": NAMESPACE},
        "stringData": {"AWS_ACCESS_KEY_ID": cluster.s3_access_key, "AWS_SECRET_ACCESS_KEY": cluster.s3_secret_key},
    }  # fmt: skip
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, secret]})
    run([tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig, "apply", "-f", "-"], text=objects)
    return {
        "gateway.enabled": "true",
        "gateway.store.uri": f"s3://{GATEWAY_BUCKET}",
        "gateway.store.credentialsSecret": _GATEWAY_SECRET,
        "gateway.store.endpointURL": cluster.s3_endpoint_in_cluster,
        "gateway.store.publicEndpointURL": cluster.s3_endpoint,
        "gateway.grpc.enabled": "true",
        "gateway.webhooks.allowHTTP": "true",
        "gateway.transcription.model.name": "whisper-base",
    }


def helm(cluster: Info, values: Mapping[str, str], *options: str) -> None:
    """Install or upgrade the release, waiting until the operator is ready.

    Args:
        cluster: the cluster.
        values: the chart's values by their dotted names.
        options: further options of `helm upgrade`.
    """
    words = [f"--set={name}={value}" for name, value in values.items()]
    run(
        [
            tools.path("helm"), "upgrade", "--install", RELEASE, ROOT / "charts" / "steno",
            "--kubeconfig", cluster.kubeconfig, "--namespace", NAMESPACE, "--create-namespace",
            "--wait", "--timeout", "3m", *options, *words,
        ],
        timeout=240,
    )  # fmt: skip


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.deploy", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="the cluster's name (default: %(default)s)")
    deploy(up(parser.parse_args().name))


if __name__ == "__main__":
    sys.exit(main(_main))
