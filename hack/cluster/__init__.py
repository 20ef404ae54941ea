"""A kind cluster with test GPUs, storage and an S3 server."""

from __future__ import annotations

from hack.cluster.config import DEFAULT_NAME, Cluster
from hack.cluster.lifecycle import Info, down, info, kubeconfig, up
from hack.cluster.loading import load

__all__ = ["DEFAULT_NAME", "Cluster", "Info", "down", "info", "kubeconfig", "load", "up"]
