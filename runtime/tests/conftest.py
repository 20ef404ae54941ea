"""What the runtime's tests work with: a real S3 server, a real web server, real recordings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import pytest

from steno_api.worker.task import EgressRules
from steno_runtime.models.pins import PINS

ROOT = Path(__file__).parents[2]

LOOPBACK = EgressRules(allowed_networks=["127.0.0.0/8"])
"""Lets tests reach servers of this machine, which is denied otherwise."""


def mounted_secret(folder: Path, **values: str) -> str:
    """Create a directory like a mounted Secret, with `-` for `_` in the names of Steno's own keys; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / (name.replace("_", "-") if name.startswith("steno") else name)).write_text(value)
    return str(folder)


@dataclass
class S3:
    """A running S3 server and a client of it."""

    endpoint: str
    access_key: str
    secret_key: str
    client: object

    def credentials(self, folder: Path, **changed: str) -> str:
        """Create a directory like a mounted Secret, for this server alone, and return it."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return mounted_secret(folder, **keys | {"allowedPrefix": self.endpoint, "allowPlainHTTP": "true"} | changed)

    def keys(self, bucket: str) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    program = subprocess.run(
        [sys.executable, "-m", "hack.tools", "path", "versitygw"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.split()[-1]
    folder = tmp_path_factory.mktemp("s3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    access, secret = "steno", "steno-secret-key"
    endpoint = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [program, "--access", access, "--secret", secret, "--port", f"127.0.0.1:{port}", "--region", "us-east-1",
         "--quiet", "posix", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret, region_name="us-east-1",
        config=botocore.config.Config(retries={"mode": "standard", "max_attempts": 8}, proxies={}),
    )  # fmt: skip
    try:
        client.create_bucket(Bucket="meetings")
        client.create_bucket(Bucket="transcripts")
        yield S3(endpoint, access, secret, client)
    finally:
        process.terminate()
        process.wait(10)


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Web:
    """A web server whose every path is answered by a function; it remembers what it was asked."""

    url: str
    routes: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def serve(self, path: str, data: bytes, **headers: str) -> str:
        """Answers `path` with `data`; returns the URL."""
        self.routes[path] = reply(200, data, **headers)
        return self.url + path

    def bodies_of(self, path: str) -> list[bytes]:
        """Return what was sent to a path."""
        asked = [path for path, _ in self.requests]
        return [body for each, body in zip(asked, self.bodies, strict=False) if each == path]


def reply(status: int, data: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    return answer


@pytest.fixture
def web_factory() -> Iterator[Callable[..., Web]]:
    with contextlib.ExitStack() as stack:

        def start(address: str = "127.0.0.1") -> Web:
            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_GET(self) -> None:
                    web.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                    length = int(self.headers.get("content-length", 0))
                    self.body = self.rfile.read(length)
                    web.bodies.append(self.body)
                    web.routes.get(self.path.partition("?")[0], reply(404))(self)

                do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  (the names that http.server calls)

                def log_message(self, *args: object) -> None:
                    pass

            class Server(ThreadingHTTPServer):
                daemon_threads = True

                def handle_error(self, *args: object) -> None:
                    """Clients that go away are part of the tests."""

            server = Server((address, 0), Handler)
            web = Web(f"http://{address}:{server.server_port}")
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return web

        yield start


@pytest.fixture
def web(web_factory: Callable[[], Web]) -> Web:
    return web_factory()


@dataclass
class Hub:
    """A Hugging Face hub: one repository after the other is put there, or refused."""

    web: Web

    def serve(self, repo: str, files: dict[str, bytes]) -> None:
        """Puts a repository there that anybody may read, at the pinned commit if there is one."""
        sha = revision_of(repo)
        info = {"id": repo, "sha": sha, "siblings": [{"rfilename": name} for name in files]}
        self._answer(repo, reply(200, json.dumps(info).encode()))
        for name, data in files.items():
            tag = hashlib.sha256(data).hexdigest()
            headers = {"ETag": f'"{tag}"', "X_Repo_Commit": sha}
            self.web.routes[f"/{repo}/resolve/{sha}/{name}"] = reply(200, data, **headers)

    def refuse(self, repo: str, status: int, **headers: str) -> None:
        """Answers whatever is asked of a repository with an error."""
        self._answer(repo, reply(status, **headers))

    def _answer(self, repo: str, answer: Answer) -> None:
        for path in ("", "/revision/main", f"/revision/{revision_of(repo)}"):
            self.web.routes[f"/api/models/{repo}{path}"] = answer


def revision_of(repo: str) -> str:
    """The commit that a repository of the test's hub is at."""
    return PINS[repo].revision if repo in PINS else "a" * 40


@pytest.fixture
def hub(web_factory: Callable[[], Web], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub of its own, with an empty cache and no token; the client reads its address when it is imported."""
    import huggingface_hub.constants
    import huggingface_hub.file_download
    import huggingface_hub.utils

    web = web_factory()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", web.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(
        huggingface_hub.file_download,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        web.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    huggingface_hub.utils.reset_sessions()  # each knows whether it was made offline
    return Hub(web)


@pytest.fixture(scope="session")
def sample_wav() -> Path:
    """Thirty seconds of two people on the phone, from the wheel of pyannote.audio."""
    spec = find_spec("pyannote.audio")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "sample" / "sample.wav"


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory, sample_wav: Path) -> dict[str, Path]:
    """The sample in every format that is promised, by file extension."""
    import av

    folder = tmp_path_factory.mktemp("media")
    made = {"wav": sample_wav}
    for extension, codec, rate in (
        ("mp3", "libmp3lame", 44_100),
        ("m4a", "aac", 48_000),
        ("flac", "flac", 44_100),
        ("ogg", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("mp4", "aac", 44_100),
    ):
        path = folder / f"sample.{extension}"
        with av.open(str(path), "w") as target, av.open(str(sample_wav)) as source:
            stream = target.add_stream(codec, rate=rate, layout="stereo")
            for frame in source.decode(audio=0):
                for packet in stream.encode(frame):
                    target.mux(packet)
            for packet in stream.encode(None):
                target.mux(packet)
        made[extension] = path
    return made


@pytest.fixture(autouse=True)
def no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
