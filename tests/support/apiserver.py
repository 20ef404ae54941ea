"""A real etcd and kube-apiserver for tests, optionally with the controller manager; ready in about three seconds.

`serve()` starts one of its own; `shared()` starts one per process, which the fixture `apiserver`
(`tests/support/fixtures.py`) hands to every test. Tests keep apart by namespaces: `ApiServer.namespace()`.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack import tools
from hack.paths import ROOT

CRDS = ROOT / "crds"
START_SECONDS = 60.0
"""Longest wait for the apiserver; two busy cores can be slow."""
REQUEST_SECONDS = 30.0
POLL_SECONDS = 0.05
SERVICE_RANGE = "10.0.0.0/24"


class StartError(Exception):
    """A program of the control plane did not start; the text has the end of its log."""


@dataclass(frozen=True)
class ApiServer:
    """A running apiserver; every call is made as its administrator unless it says otherwise."""

    url: str
    """`https://127.0.0.1:<port>`."""
    token: str
    """Bearer token of a member of `system:masters`."""
    ca: Path
    """The serving certificate's bundle, PEM."""
    kubeconfig: Path
    folder: Path
    """Logs (`<program>.log`) and data; deleted at the end."""
    controllers: bool
    """Whether kube-controller-manager runs (Job controller, garbage collector, default ServiceAccounts, …)."""
    request_seconds: float
    """For which a request may last."""
    _supervisor: subprocess.Popen[str] = field(repr=False, compare=False)

    def start(self, name: str, *command: str) -> None:
        """Start one more program, which stops when the server does; its output goes to `folder/<name>.log`."""
        _order(self._supervisor, name, *command)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, namespace: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; a failure raises AssertionError unless `check` is off."""
        where = ["--namespace", namespace] if namespace else []
        command = [str(tools.path("kubectl")), "--kubeconfig", str(self.kubeconfig), *where, *arguments]
        environment = {**os.environ, "KUBECACHEDIR": str(self.folder / "kubectl-cache"), "KUBERC": "off"}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} exited with {done.returncode}: {done.stderr.strip()}")
        return done

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """Send one HTTP request, `path` with its query; refusals are returned, not raised."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept, "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self._tls(), timeout=self.request_seconds) as answer:
                return Response(answer.status, _decode(answer.read()), _warnings(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, _decode(error.read()), _warnings(error.headers))

    def client(self) -> Any:
        """Return a `kubernetes.client.ApiClient` with the administrator's rights; for asyncio read `kubeconfig`."""
        from kubernetes import config

        return config.new_client_from_config(str(self.kubeconfig))

    def apply_crds(self, folder: Path = CRDS) -> None:
        """Apply every CRD in `folder` and waits until they are established."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(folder))
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", str(folder))

    def namespace(self, prefix: str = "test") -> str:
        """Create a namespace for a test and return its name. It is deleted with the server."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        answer = self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        if answer.status != 201:
            raise AssertionError(f"namespace {name}: {answer.message}")
        return name

    def service_account_token(
        self, namespace: str, name: str, *, audiences: Sequence[str] = (), pod: dict[str, str] | None = None
    ) -> str:
        """Return a real token of a ServiceAccount, made when missing; `pod` ({name, uid}) is what it is bound to."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.request("POST", path, {"metadata": {"name": name}})
        spec: dict[str, Any] = {"audiences": list(audiences)}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", **pod}
        answer = self.request("POST", f"{path}/{name}/token", {"spec": spec})
        if answer.status != 201:
            raise AssertionError(f"token of {namespace}/{name}: {answer.message}")
        return answer.body["status"]["token"]

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@dataclass(frozen=True)
class Response:
    """What the apiserver answered."""

    status: int
    body: Any
    warnings: tuple[str, ...] = ()
    """Texts of `Warning` headers, which kubectl prints."""

    @property
    def message(self) -> str:
        """A refusal's message, as a user sees it."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)


@contextmanager
def serve(
    *,
    controllers: bool = False,
    options: Mapping[str, Sequence[str]] | None = None,
    request_seconds: float = REQUEST_SECONDS,
) -> Generator[ApiServer]:
    """Start etcd and kube-apiserver (and kube-controller-manager) on free ports; stops and deletes all at the end.

    They also stop, and their folder is deleted, however this process ends.

    Args:
        controllers: whether kube-controller-manager runs.
        options: program → further flags, which win over what is given here.
        request_seconds: for which a request may last.

    Raises:
        StartError: a program ended or was not ready in time.
    """
    folder = Path(tempfile.mkdtemp(prefix="steno-apiserver-"))
    program = Path(__file__).with_name("supervisor.py")
    supervisor = subprocess.Popen(
        [sys.executable, str(program), str(folder)], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield _start(supervisor, folder, options or {}, controllers=controllers, request_seconds=request_seconds)
    finally:
        supervisor.communicate()
        shutil.rmtree(folder, ignore_errors=True)  # only where the supervisor itself was killed


_kept = ExitStack()
_shared: dict[bool, ApiServer] = {}


def shared(*, controllers: bool = False) -> ApiServer:
    """Return one server per process and kind, with Steno's CRDs applied, kept until the process ends."""
    if controllers not in _shared:
        if not _shared:
            atexit.register(_kept.close)
        server = _kept.enter_context(serve(controllers=controllers))
        server.apply_crds()
        _shared[controllers] = server
    return _shared[controllers]


def _start(
    supervisor: subprocess.Popen[str],
    folder: Path,
    options: Mapping[str, Sequence[str]],
    *,
    controllers: bool,
    request_seconds: float,
) -> ApiServer:
    client_port, peer_port, port = _free_ports(3)
    certificates = folder / "certificates"
    token = secrets.token_hex(16)
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{token},admin,admin,system:masters\n")
    server = ApiServer(
        url=f"https://127.0.0.1:{port}",
        token=token,
        ca=certificates / "apiserver.crt",
        kubeconfig=folder / "kubeconfig",
        folder=folder,
        controllers=controllers,
        request_seconds=request_seconds,
        _supervisor=supervisor,
    )
    etcd = f"http://127.0.0.1:{client_port}"
    peer = f"http://127.0.0.1:{peer_port}"
    _order(
        supervisor, "etcd", str(tools.path("etcd")), f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync",
        "--name=default", f"--initial-cluster=default={peer}", f"--listen-client-urls={etcd}",
        f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
        "--log-level=warn", *options.get("etcd", ()),
    )  # fmt: skip
    # The key of the serving certificate, which the apiserver makes for itself, also signs ServiceAccount tokens:
    # so nothing here needs openssl or a library for keys.
    key = certificates / "apiserver.key"
    # Without the controller manager nothing makes the ServiceAccounts this plugin asks for before a pod may exist.
    plugins = [] if controllers else ["--disable-admission-plugins=ServiceAccount"]
    _order(
        supervisor, "kube-apiserver", str(tools.path("kube-apiserver")), f"--etcd-servers={etcd}",
        f"--secure-port={port}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none", f"--cert-dir={certificates}", f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC", f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--profiling=false",
        *plugins, *options.get("kube-apiserver", ()),
    )  # fmt: skip
    _wait_ready(server, supervisor)
    _write_kubeconfig(server)
    if controllers:
        _order(
            supervisor, "kube-controller-manager", str(tools.path("kube-controller-manager")),
            f"--kubeconfig={server.kubeconfig}", "--leader-elect=false", "--secure-port=0",
            f"--service-account-private-key-file={key}", f"--root-ca-file={server.ca}", "--concurrent-gc-syncs=2",
            "--kube-api-qps=500", "--kube-api-burst=500",  # its own default would be the slowest part of a test
            "--controllers=*,-nodeipam,-nodelifecycle,-cloud-node-lifecycle,-service-lb-controller",
            *options.get("kube-controller-manager", ()),
        )  # fmt: skip
        _wait(lambda: server.request("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200,
              "kube-controller-manager", server, supervisor)  # fmt: skip
    return server


def _order(supervisor: subprocess.Popen[str], name: str, *command: str) -> None:
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps({"name": name, "command": command}) + "\n")
    supervisor.stdin.flush()


def _wait_ready(server: ApiServer, supervisor: subprocess.Popen[str]) -> None:
    def ready() -> bool:
        return server.ca.exists() and server.request("GET", "/readyz").status == 200

    _wait(ready, "kube-apiserver", server, supervisor)


def _wait(ready: Any, what: str, server: ApiServer, supervisor: subprocess.Popen[str]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if supervisor.poll() is not None:
            break
        try:
            if ready():
                return
        except (OSError, ValueError):  # not listening yet, or half-written certificates
            pass
        time.sleep(POLL_SECONDS)
    ended = "its supervisor ended" if supervisor.poll() is not None else f"not within {START_SECONDS:.0f} s"
    logs = [path.read_text(errors="replace")[-1500:] for path in sorted(server.folder.glob("*.log"))]
    raise StartError("\n".join([f"{what} did not become ready: {ended}", *logs]))


def _write_kubeconfig(server: ApiServer) -> None:
    cluster = {"server": server.url, "certificate-authority": str(server.ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": server.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    server.kubeconfig.write_text(json.dumps(config))


def _free_ports(count: int) -> list[int]:
    """Return free ports, all different because they are held together."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _decode(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}


def _warnings(headers: Any) -> tuple[str, ...]:
    """Return the texts of `Warning: 299 - "text"` headers, unquoted."""
    quoted = [value.split(" ", 2)[2] for value in headers.get_all("Warning") or ()]
    return tuple(re.sub(r"\\(.)", r"\1", text[1:-1]) for text in quoted)
