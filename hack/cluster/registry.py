"""The local registry that every cluster's node pulls from; its layers outlive clusters."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from hack import docker, tools
from hack.cluster.config import NETWORK, REGISTRY, REGISTRY_PORT, reference
from hack.paths import cache_folder, locked
from hack.steps import StepError, output, run, say, step, succeeds, wait_for

_CONFIG = """version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /data}, delete: {enabled: true}}
http: {addr: ":5000"}
"""


def port() -> int:
    """The registry's port on the host."""
    text = os.environ.get("STENO_REGISTRY_PORT", str(REGISTRY_PORT))
    if not text.isdigit() or not 0 < int(text) < 65536:
        msg = f"STENO_REGISTRY_PORT={text} is no port"
        raise StepError(msg)
    return int(text)


def scratch_image(name: str, program: Path, extra: dict[str, str] | None = None) -> str:
    """An image that holds one static program (and small text files); returns its content-derived tag."""
    tag = f"steno/{name}:{tools.key([program.read_bytes(), repr(extra).encode()])}"
    if docker.image_exists(tag):
        return tag
    folder = cache_folder("docker", f"image-{name}-{os.getpid()}")
    try:
        shutil.copy2(program, folder / "program")
        lines = ["FROM scratch", "LABEL dev.steno.build=1", f"COPY program /{program.name}"]
        for path, text in (extra or {}).items():
            (folder / Path(path).name).write_text(text)
            lines.append(f"COPY {Path(path).name} {path}")
        lines.append(f'ENTRYPOINT ["/{program.name}"]')
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        docker.build(tag, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tag


def answers() -> bool:
    """Whether the registry answers on the host."""
    try:
        with urllib.request.urlopen(f"http://localhost:{port()}/v2/", timeout=3) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ensure() -> None:
    """Makes sure that the registry runs on kind's network."""
    with locked("registry"):
        if not docker.exists("network", NETWORK):
            # As kind makes it, so that kind takes it for its own.
            options = ["-d=bridge", "-o", "com.docker.network.bridge.enable_ip_masquerade=true"]
            run(["docker", "network", "create", *options, NETWORK])
        image = scratch_image("registry", tools.path("registry"), {"/config.yaml": _CONFIG})
        if _current(image) and answers():
            return
        with step(f"starting the registry on localhost:{port()}"):
            succeeds(["docker", "rm", "-f", REGISTRY])
            data = cache_folder("registry")
            options = ["-d", "--name", REGISTRY, "--network", NETWORK, "--restart", "unless-stopped"]
            options += ["-p", f"127.0.0.1:{port()}:5000", "-v", f"{data}:/data", "-e", "OTEL_TRACES_EXPORTER=none"]
            run(["docker", "run", *options, image, "serve", "/config.yaml"])
            wait_for(f"the registry answers on localhost:{port()}", answers, timeout=30)


def _current(image: str) -> bool:
    try:
        text = output(["docker", "inspect", REGISTRY])
    except StepError:
        return False
    found = json.loads(text)[0]
    ports = found["HostConfig"]["PortBindings"].get("5000/tcp") or [{}]
    return found["State"]["Running"] and found["Config"]["Image"] == image and ports[0].get("HostPort") == str(port())


def has(ref: str) -> bool:
    """Whether the registry holds a tag."""
    name, tag = ref.split("/", 1)[1].rsplit(":", 1)
    accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    request = urllib.request.Request(
        f"http://localhost:{port()}/v2/{name}/manifests/{tag}", method="GET", headers={"Accept": accept}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            manifest = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return False
    image = ref.removeprefix(f"localhost:{port()}/")
    return docker.image_exists(image) and manifest.get("config", {}).get("digest") == docker.image_id(image)


def load(image: str) -> str:
    """Puts a local image into the registry (only layers it lacks travel); returns the reference for manifests."""
    ref = reference(image, port())
    local = ref.removeprefix(f"localhost:{port()}/")
    if not docker.image_exists(local):
        msg = f"Docker has no image {local}: build it first"
        raise StepError(msg)
    with locked("load"):
        if has(ref):
            say(f"{ref} is in the registry")
            return ref
        with step(f"loading {local}"):
            run(["docker", "tag", local, ref])
            run(["docker", "push", ref], timeout=1800)
    return ref
