"""`make deploy`: Steno on a development cluster: images built and loaded, the chart installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from hack import images, tools
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


def deploy(cluster: Info) -> None:
    """Build what changed, load it, and install or upgrade the chart."""
    with step("images"):
        images.build_and_load(cluster.name)
    with step("installing the chart"):
        helm_upgrade(cluster)


def helm_upgrade(cluster: Info) -> None:
    """`helm upgrade --install` of the images that the sources make, waiting until the operator is ready."""
    built = images.references()
    helm(cluster, {"image.reference": built.operator, "runtime.image.reference": built.runtime, **FOR_DEVELOPMENT})


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
