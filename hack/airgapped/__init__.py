"""Clusters where no image registry can be reached: see README.md."""

from __future__ import annotations

import os

from hack import docker

NODE_VERSION = "v1.35.4"
"""Kubernetes of the development cluster's node; the same as in `modules/kubernetes/go.mod`."""
NODE_IMAGE = f"kindest/node:{NODE_VERSION}"


def chosen() -> bool:
    """Return whether to do without image registries: as STENO_AIRGAPPED says (0 or 1), else as they answer."""
    wish = os.environ.get("STENO_AIRGAPPED")
    return wish != "0" if wish else not docker.pull(NODE_IMAGE)
