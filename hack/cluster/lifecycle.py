"""A cluster's life: up, down, status."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from hack import docker, tools
from hack.cluster import addons, config, node, registry
from hack.cluster.config import Cluster, kind_config
from hack.paths import ROOT, cache_folder, locked, write_atomic
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
    registry: str
    s3_endpoint: str
    s3_endpoint_in_cluster: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    stream_http: str
    """Host and port that lead to `config.STREAM_HTTP_NODE_PORT`."""
    stream_grpc: str
    """Likewise for gRPC."""


def kind_environment() -> dict[str, str]:
    """Variables for kind: where `--privileged` cannot start, our `docker` comes first on its PATH."""
    environment = {"KIND_EXPERIMENTAL_PROVIDER": "docker"}
    real = shutil.which("docker")
    if real and docker.lacks_sys_resource():
        shim = ROOT / "hack" / "cluster" / "node" / "shim"
        environment |= {"STENO_REAL_DOCKER": real, "PATH": f"{shim}{os.pathsep}{os.environ['PATH']}"}
    return environment


def up(name: str = config.DEFAULT_NAME) -> Info:
    """Brings a cluster up: taken as it is when healthy, started when stopped, made anew when broken."""
    cluster = Cluster(name)
    docker.ensure()
    for group in ("kind", "kubernetes", "registry", "versitygw", "cluster"):
        tools.build(group)
    with locked(f"cluster-{name}"):
        registry.ensure()
        if not _revived(cluster):
            _create(cluster)
        _join_registry(cluster)
        addons.ensure(cluster, output(["docker", "inspect", "--format", "{{.Config.Image}}", cluster.node]))
    return info(name)


def _exists(cluster: Cluster) -> bool:
    return docker.exists("container", cluster.node)


def healthy(cluster: Cluster) -> bool:
    """Whether the API server answers and the node is ready."""
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
            say("it is broken: making it anew")
            return False
    return True


def _write_kubeconfig(cluster: Cluster) -> None:
    try:
        text = output([tools.path("kind"), "get", "kubeconfig", "--name", cluster.name], env=kind_environment())
    except CommandError:
        return
    write_atomic(cluster.kubeconfig, text + "\n")
    cluster.kubeconfig.chmod(0o600)


def _create(cluster: Cluster) -> None:
    image = node.image()
    with step(f"creating the cluster {cluster.name}"):
        _delete(cluster)
        cluster.folder.mkdir(parents=True, exist_ok=True)
        (cluster.folder / "addons.yaml").unlink(missing_ok=True)
        write_atomic(cluster.folder / "kind.json", kind_config(cluster))
        options = ["--name", cluster.name, "--image", image, "--config", cluster.folder / "kind.json"]
        options += ["--kubeconfig", cluster.kubeconfig, "--wait", "180s", "--retain"]
        run([tools.path("kind"), "create", "cluster", *options], env=kind_environment(), timeout=600)
        wait_for("the node is ready", lambda: healthy(cluster), timeout=120)


def _join_registry(cluster: Cluster) -> None:
    folder = f"/etc/containerd/certs.d/localhost:{registry.port()}"
    script = f"mkdir -p '{folder}' && cat > '{folder}/hosts.toml'"
    run(["docker", "exec", "-i", cluster.node, "sh", "-c", script], text=config.hosts_toml())


def _delete(cluster: Cluster) -> None:
    if cluster.folder.exists() or _exists(cluster):
        command = [tools.path("kind"), "delete", "cluster", "--name", cluster.name, "--kubeconfig", cluster.kubeconfig]
        run(command, env=kind_environment(), timeout=180)


def down(name: str = config.DEFAULT_NAME, *, everything: bool = False) -> None:
    """Removes a cluster; with `everything` also the registry, its layers and the images built for clusters."""
    cluster = Cluster(name)
    if not docker.running():
        shutil.rmtree(cluster.folder, ignore_errors=True)
        if not everything:
            return
        docker.ensure()
    with locked(f"cluster-{name}"):
        with step(f"removing the cluster {name}"):
            _delete(cluster)
            shutil.rmtree(cluster.folder, ignore_errors=True)
        if everything:
            _remove_shared()


def _remove_shared() -> None:
    others = output(["docker", "ps", "-aq", "--filter", "label=io.x-k8s.kind.cluster"])
    if others:
        say("other kind clusters exist: the registry and the images stay")
        return
    with step("removing the registry and the images"):
        succeeds(["docker", "rm", "-f", "-v", config.REGISTRY])
        shutil.rmtree(cache_folder("registry"), ignore_errors=True)
        tags = output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
        prefixes = ("steno/", f"localhost:{registry.port()}/steno/")
        for tag in tags:
            if tag.startswith(prefixes) and "<none>" not in tag:
                succeeds(["docker", "rmi", "-f", tag], timeout=300)
        docker.prune()
        succeeds(["docker", "network", "rm", config.NETWORK])


def info(name: str = config.DEFAULT_NAME) -> Info:
    """What a cluster is and whether it works; changes nothing."""
    cluster = Cluster(name)
    alive = healthy(cluster)
    count = addons.gpus(cluster) if alive else 0
    return Info(
        name=name,
        ready=alive and count == config.GPUS and addons.s3_answers(cluster) and registry.answers(),
        node=cluster.node,
        kubeconfig=str(cluster.kubeconfig),
        api=f"https://127.0.0.1:{cluster.api_port}",
        gpus=count,
        registry=f"localhost:{registry.port()}",
        s3_endpoint=cluster.s3_endpoint,
        s3_endpoint_in_cluster=config.S3_IN_CLUSTER,
        s3_access_key=config.S3_ACCESS_KEY,
        s3_secret_key=config.S3_SECRET_KEY,
        s3_region=config.S3_REGION,
        stream_http=f"127.0.0.1:{cluster.stream_http_port}",
        stream_grpc=f"127.0.0.1:{cluster.stream_grpc_port}",
    )


def show(found: Info, *, as_json: bool) -> str:
    """The text of a status."""
    if as_json:
        return json.dumps(asdict(found), indent=2)
    return "\n".join(f"{key.replace('_', ' '):<24} {value}" for key, value in asdict(found).items())


def kubeconfig(name: str) -> Path:
    """The path of a cluster's kubeconfig.

    Raises:
        StepError: there is no such cluster.
    """
    path = Cluster(name).kubeconfig
    if not path.exists():
        msg = f"there is no cluster {name}: `python3 -m hack.cluster up --name {name}` makes it"
        raise StepError(msg)
    return path
