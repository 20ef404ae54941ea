"""How kind is called."""

from __future__ import annotations

import os
import shutil

from hack.airgapped import dockerd
from hack.paths import ROOT


def kind_environment() -> dict[str, str]:
    """Return variables for kind: where `--privileged` cannot start, our `docker` comes first on its PATH."""
    environment = {"KIND_EXPERIMENTAL_PROVIDER": "docker"}
    real = shutil.which("docker")
    if real and dockerd.lacks_sys_resource():
        shim = ROOT / "hack" / "airgapped" / "node" / "shim"
        environment |= {"STENO_REAL_DOCKER": real, "PATH": f"{shim}{os.pathsep}{os.environ['PATH']}"}
    return environment
