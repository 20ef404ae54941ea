"""Images that hold one static program, for what a cluster runs besides Steno.

Separate because only a machine without an image registry builds them.
"""

from __future__ import annotations

import os
import shutil

from hack import docker, tools
from hack.airgapped import programs
from hack.paths import cache_folder


def build(name: str) -> str:
    """Build the image of a program and return its name, whose tag changes with the program."""
    program = tools.path(name)
    image = f"steno/{name}:{programs.key([program.read_bytes()])}"
    if docker.image_exists(image):
        return image
    folder = cache_folder("docker", f"image-{name}-{os.getpid()}")
    try:
        shutil.copy2(program, folder / name)
        lines = ("FROM scratch", "LABEL dev.steno.build=1", f"COPY {name} /", f'ENTRYPOINT ["/{name}"]')
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        docker.build(image, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return image
