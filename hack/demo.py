"""`make demo`: from nothing to a transcript on a cluster of your own; `make clean-demo` deletes all of it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from hack import docker, images, s3, tools, uv
from hack.airgapped import dockerd
from hack.cluster import Info, config, down, info, up
from hack.deploy import deploy
from hack.paths import ROOT, cache_folder, write_atomic
from hack.steps import StepError, main, output, run, say, side_by_side, step, tee

EXAMPLES = ROOT / "examples"
TIMEOUT_SECONDS = 600

INPUTS = ("sample.wav", "scan.pdf")
"""What the examples read. Both are made in the runtime image, which has the libraries for it."""

MAKE_INPUTS = """
import importlib.util, io, pathlib, sys, tarfile
from PIL import Image, ImageDraw, ImageFont

def shipped(package, path):
    return pathlib.Path(importlib.util.find_spec(package).origin).parent / path

sample = shipped("pyannote.audio", "sample/sample.wav")
font = ImageFont.truetype(shipped("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"), 34)
pages = []
for text in sys.argv[1:]:
    page = Image.new("L", (1654, 2339), 255)  # A4 at 200 dpi
    ImageDraw.Draw(page).multiline_text((180, 200), text, font=font, fill=20, spacing=18)
    pages.append(page.rotate(0.7 * len(pages), fillcolor=255, resample=Image.Resampling.BICUBIC))
scan = io.BytesIO()
pages[0].save(scan, "PDF", save_all=True, append_images=pages[1:], resolution=200)
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    for name, data in (("sample.wav", sample.read_bytes()), ("scan.pdf", scan.getvalue())):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
"""

SCANNED = (
    """Minutes of the second meeting

The recordings of the spring were played from the beginning.
Nobody remembered who had spoken first, and so the tape was asked.
It answered in eleven seconds, with the names left blank.""",
    """Resolved

1. To keep the tapes in a dry place.
2. To write down on each who speaks on it.
3. To meet again when the machine has read all of this.""",
)
"""The pages of the document that the OCRJob reads: drawn, turned a little, without any text in the file."""


def demo(name: str) -> None:
    """Bring up what is not there yet, run the examples, and print their results."""
    say("Steno's demo: a kind cluster, the chart, two jobs and a live session. The first time downloads CUDA and")
    say("torch and, without an image registry, compiles Kubernetes: about 20 minutes on two cores.")
    dockerd.ensure()
    side_by_side(lambda: up(name), images.build)
    cluster = info(name)
    deploy(cluster)
    with step("a recording and a scanned document into the bucket steno-demo"):
        upload(cluster)
        kubectl(cluster, "apply", "-f", str(EXAMPLES / "demo-secret.yaml"))
    with step("two people on the phone: examples/transcriptionjob.yaml"):
        transcription = apply_afresh(cluster, "TranscriptionJob", "transcriptionjob.yaml")
        transcription = finish(cluster, transcription)
    with step("a scanned document: examples/ocrjob.yaml"):
        recognition = finish(cluster, apply_afresh(cluster, "OCRJob", "ocrjob.yaml"))
    with step("the two on the phone again, live: examples/runtimepool.yaml and examples/streamsession.yaml"):
        conversation = stream(cluster)
    for job, fmt in ((transcription, "txt"), (recognition, "markdown"), (conversation, "txt")):
        show(cluster, job, fmt)
    say(f"The cluster stays: export KUBECONFIG={cluster.kubeconfig}")
    say("Delete it with `make clean-demo`.")


def clean(name: str) -> None:
    """Delete the demo's cluster and its images."""
    with step("deleting the demo's cluster and images"):
        down(name, everything=True)
        if docker.running():
            images.remove()


def store(cluster: Info) -> s3.Client:
    """Return a client of the cluster's S3 server, from here."""
    return s3.Client(cluster.s3_endpoint, cluster.s3_access_key, cluster.s3_secret_key, cluster.s3_region)


def upload(cluster: Info) -> None:
    """Put the examples' inputs where they read them."""
    folder = cache_folder("demo")
    if not all((folder / name).exists() for name in INPUTS):
        make_inputs(folder)
    client = store(cluster)
    client.create_bucket("steno-demo")
    client.create_bucket("steno-demo-results")
    for name in INPUTS:
        client.put(f"s3://steno-demo/{name}", (folder / name).read_bytes())


def make_inputs(folder: Path) -> None:
    """Make the examples' inputs in the runtime image."""
    archive = folder / f"inputs-{os.getpid()}.tar"
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", images.references().runtime]
    try:
        with archive.open("wb") as target:
            done = subprocess.run([*command, "-c", MAKE_INPUTS, *SCANNED], stdout=target, check=False, timeout=300)
        if done.returncode:
            raise StepError("the runtime image could not make the demo's inputs")
        with tarfile.open(archive) as made:
            for name in INPUTS:
                content = made.extractfile(name)
                if content is None:
                    raise StepError(f"the runtime image made no {name}")
                write_atomic(folder / name, content.read())
    finally:
        archive.unlink(missing_ok=True)


def apply_afresh(cluster: Info, kind: str, example: str) -> dict[str, Any]:
    """Apply an example, after deleting what an earlier run left; return its resource of that kind."""
    path = str(EXAMPLES / example)
    kubectl(cluster, "delete", "--ignore-not-found", "-f", path)
    made = json.loads(kubectl(cluster, "apply", "-o", "json", "-f", path))
    return next(item for item in made.get("items", [made]) if item["kind"] == kind)


def stream(cluster: Info) -> dict[str, Any]:
    """Make the example's session and send it speech in real time; final text is printed as it comes."""
    steno = uv.client()
    # The node's ports lead to ports of this machine that follow the cluster's name.
    pool = (EXAMPLES / "runtimepool.yaml").read_text()
    for node_port, address in (
        (config.STREAM_HTTP_NODE_PORT, cluster.stream_http),
        (config.STREAM_GRPC_NODE_PORT, cluster.stream_grpc),
    ):
        pool = pool.replace(f"localhost:{node_port}", address)
    run([tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig, "apply", "-f", "-"], text=pool)
    session = apply_afresh(cluster, "StreamSession", "streamsession.yaml")
    name, recording = session["metadata"]["name"], cache_folder("demo") / "sample.wav"
    tee([steno, "stream", recording, "--session", name, "--no-partials", "--kubeconfig", cluster.kubeconfig])
    return finish(cluster, session)


def finish(cluster: Info, job: dict[str, Any]) -> dict[str, Any]:
    """Print a job's phase and progress as they change until it has ended, and return it.

    Raises:
        StepError: the job failed or took too long.
    """
    name = f"{job['kind'].lower()}/{job['metadata']['name']}"
    deadline, last = time.monotonic() + TIMEOUT_SECONDS, ""
    while time.monotonic() < deadline:
        job = json.loads(kubectl(cluster, "get", "-o", "json", name))
        line = progress_line(job.get("status", {}))
        if line != last:
            say(line)
            last = line
        phase = job.get("status", {}).get("phase")
        if phase == "Succeeded":
            return job
        if phase == "Failed":
            raise StepError(f"{name} failed: {line}")
        time.sleep(1)
    raise StepError(f"{name} was not done after {TIMEOUT_SECONDS} s; it last said: {last}")


def show(cluster: Info, job: dict[str, Any], fmt: str) -> None:
    """Print `kubectl get` of a job's kind, and one of its results."""
    plural = f"{job['kind'].lower()}s"
    print(f"\n$ kubectl get {plural} -o wide")
    print(kubectl(cluster, "get", plural, "-o", "wide"))
    uri = next(artifact["uri"] for artifact in job["status"]["results"]["artifacts"] if artifact["format"] == fmt)
    print(f"\n{uri}")
    print(store(cluster).get(uri).decode())


def progress_line(status: dict[str, Any]) -> str:
    """Return one line for people: phase, stage, percent; why it waits or failed."""
    progress, queue = status.get("progress", {}), status.get("queue", {})
    failed = next((c for c in status.get("conditions", []) if c["type"] == "Failed" and c["status"] == "True"), {})
    parts = [
        status.get("phase", "Pending"),
        *([f"{progress['stage']} {progress['percent']} %"] if progress else []),
        *([progress["message"]] if progress.get("message") else []),
        *([f"{queue['reason']}: {queue.get('message', '')}"] if queue else []),
        *([f"{failed['reason']}: {failed['message']}"] if failed else []),
    ]
    return " · ".join(parts)


def kubectl(cluster: Info, *words: str) -> str:
    """Return what kubectl prints."""
    return output([tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig, *words])


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.demo", description=__doc__)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--name", default="steno-demo")
    arguments = parser.parse_args()
    (demo if arguments.action == "up" else clean)(arguments.name)


if __name__ == "__main__":
    sys.exit(main(_main))
