"""A kind cluster with test GPUs, storage, an S3 server and a local registry."""

from __future__ import annotations

from hack.cluster.config import DEFAULT_NAME, Cluster
from hack.cluster.lifecycle import Info, down, info, kubeconfig, up
from hack.cluster.registry import load

__all__ = ["DEFAULT_NAME", "Cluster", "Info", "down", "info", "kubeconfig", "load", "up"]
