"""Steno on a development cluster: images built and loaded, the chart installed."""

from __future__ import annotations

from collections.abc import Mapping

from hack import images, tools
from hack.cluster import Info
from hack.paths import ROOT
from hack.steps import run, step

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
    """Builds what changed and installs or upgrades the chart."""
    with step("images"):
        images.build_and_load(cluster.name)
    with step("installing the chart"):
        helm_upgrade(cluster)


def helm_upgrade(cluster: Info) -> None:
    """`helm upgrade --install` of the images that the sources make, waiting until the operator is ready."""
    built = images.references()
    helm(cluster, {"image.reference": built.operator, "runtime.image.reference": built.runtime, **FOR_DEVELOPMENT})


def helm(cluster: Info, values: Mapping[str, str], *options: str) -> None:
    """Installs or upgrades the release, waiting until the operator is ready."""
    words = [f"--set={name}={value}" for name, value in values.items()]
    run(
        [
            tools.path("helm"), "upgrade", "--install", RELEASE, ROOT / "charts" / "steno",
            "--kubeconfig", cluster.kubeconfig, "--namespace", NAMESPACE, "--create-namespace",
            "--wait", "--timeout", "3m", *options, *words,
        ],
        timeout=240,
    )  # fmt: skip
