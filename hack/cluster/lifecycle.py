"""Create, start, inspect and delete clusters."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from hack import airgapped, docker, tools
from hack.airgapped import dockerd, node_image
from hack.cluster import addons, config
from hack.cluster.config import Cluster, kind_config
from hack.cluster.kind import kind_environment
from hack.cluster.loading import image_of
from hack.paths import locked, write_atomic
from hack.steps import CommandError, StepError, output, run, say, step, succeeds, wait_for


@dataclass(frozen=True)
class Info:
    """Where a cluster's parts are found."""

    name: str
    ready: bool
    node: str
    kubeconfig: str
    api: str
    gpus: int
    s3_endpoint: str
    s3_endpoint_in_cluster: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    stream_http: str
    """Host and port that lead to `config.STREAM_HTTP_NODE_PORT`."""
    stream_grpc: str
    """Likewise for gRPC."""


def up(name: str = config.DEFAULT_NAME) -> Info:
    """Bring a cluster up: a healthy one is used as it is, a stopped one started, a broken one recreated."""
    cluster = Cluster(name)
    dockerd.ensure()
    with locked(f"cluster-{name}"):
        if not _revived(cluster):
            _create(cluster)
        addons.ensure(cluster, image_of(cluster))
    return info(name)


def _exists(cluster: Cluster) -> bool:
    return docker.exists("container", cluster.node)


def healthy(cluster: Cluster) -> bool:
    """Return whether the API server answers and the node is ready."""
    if not cluster.kubeconfig.exists():
        return False
    path = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    try:
        return output([*addons.kubectl(cluster), "get", "nodes", "-o", path, "--request-timeout=5s"]) == "True"
    except StepError:
        return False


def _revived(cluster: Cluster) -> bool:
    if not _exists(cluster):
        return False
    if not cluster.kubeconfig.exists():
        _write_kubeconfig(cluster)
    if healthy(cluster):
        return True
    running = output(["docker", "inspect", "--format", "{{.State.Running}}", cluster.node]) == "true"
    with step(f"{'waiting for' if running else 'starting'} the cluster {cluster.name}"):
        try:
            if not running:
                run(["docker", "start", cluster.node], timeout=120)
            wait_for("the node is ready", lambda: healthy(cluster), timeout=90)
        except StepError as err:
            say(f"{err}".splitlines()[0])
            say("it is broken: a new one is made")
            return False
    return True


def _write_kubeconfig(cluster: Cluster) -> None:
    try:
        text = output([tools.path("kind"), "get", "kubeconfig", "--name", cluster.name], env=kind_environment())
    except CommandError:
        return
    write_atomic(cluster.kubeconfig, text + "\n")
    cluster.kubeconfig.chmod(0o600)


def _node_image() -> str:
    if airgapped.chosen():
        return node_image.image()
    if not docker.pull(airgapped.NODE_IMAGE):
        raise StepError(f"{airgapped.NODE_IMAGE} cannot be pulled: unset STENO_AIRGAPPED to have one made here")
    return airgapped.NODE_IMAGE


def _create(cluster: Cluster) -> None:
    image = _node_image()
    kind = tools.path("kind")
    with step(f"creating the cluster {cluster.name}"):
        _delete(cluster)
        cluster.folder.mkdir(parents=True, exist_ok=True)
        (cluster.folder / "addons.yaml").unlink(missing_ok=True)
        write_atomic(cluster.folder / "kind.yaml", kind_config(cluster))
        options = ["--name", cluster.name, "--image", image, "--config", cluster.folder / "kind.yaml"]
        options += ["--kubeconfig", cluster.kubeconfig, "--wait", "180s", "--retain"]
        run([kind, "create", "cluster", *options], env=kind_environment(), timeout=600)
        wait_for("the node is ready", lambda: healthy(cluster), timeout=120)


def _delete(cluster: Cluster) -> None:
    if cluster.folder.exists() or _exists(cluster):
        command = [tools.path("kind"), "delete", "cluster", "--name", cluster.name, "--kubeconfig", cluster.kubeconfig]
        run(command, env=kind_environment(), timeout=180)


def down(name: str = config.DEFAULT_NAME, *, everything: bool = False) -> None:
    """Delete a cluster; with `everything` also the images built for clusters, unless another kind cluster exists."""
    cluster = Cluster(name)
    if not docker.running():
        shutil.rmtree(cluster.folder, ignore_errors=True)
        if not everything:
            return
        dockerd.ensure()
    with locked(f"cluster-{name}"):
        with step(f"deleting the cluster {name}"):
            _delete(cluster)
            shutil.rmtree(cluster.folder, ignore_errors=True)
        if everything:
            _remove_images()


def _remove_images() -> None:
    if output(["docker", "ps", "-aq", "--filter", "label=io.x-k8s.kind.cluster"]):
        say("other kind clusters exist: the images stay")
        return
    with step("deleting the images"):
        for tag in output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split():
            if tag.startswith("steno/") and "<none>" not in tag:
                succeeds(["docker", "rmi", "-f", tag], timeout=300)
        docker.prune()


def info(name: str = config.DEFAULT_NAME) -> Info:
    """Return what a cluster is and whether it works; change nothing."""
    cluster = Cluster(name)
    alive = healthy(cluster)
    count = addons.gpus(cluster) if alive else 0
    return Info(
        name=name,
        ready=alive and count == config.GPUS and addons.s3_answers(cluster),
        node=cluster.node,
        kubeconfig=str(cluster.kubeconfig),
        api=f"https://127.0.0.1:{cluster.api_port}",
        gpus=count,
        s3_endpoint=cluster.s3_endpoint,
        s3_endpoint_in_cluster=config.S3_IN_CLUSTER,
        s3_access_key=config.S3_ACCESS_KEY,
        s3_secret_key=config.S3_SECRET_KEY,
        s3_region=config.S3_REGION,
        stream_http=f"127.0.0.1:{cluster.stream_http_port}",
        stream_grpc=f"127.0.0.1:{cluster.stream_grpc_port}",
    )


def show(found: Info, *, as_json: bool) -> str:
    """Return a status as text."""
    if as_json:
        return json.dumps(asdict(found), indent=2)
    return "\n".join(f"{key.replace('_', ' '):<24} {value}" for key, value in asdict(found).items())


def kubeconfig(name: str) -> Path:
    """Return the path of a cluster's kubeconfig.

    Raises:
        StepError: there is no such cluster.
    """
    path = Cluster(name).kubeconfig
    if not path.exists():
        raise StepError(f"there is no cluster {name}: `python3 -m hack.cluster up --name {name}` makes it")
    return path
