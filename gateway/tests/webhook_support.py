"""A client's server that receives webhooks, and gateways that send them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from standardwebhooks import Webhook

from steno_api.gateway.api_keys import NewApiKey
from tests.support.apiserver import ApiServer
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, bearer, running, until

SPEC = {"source": {"uri": "https://example.com/a.wav"}, "metadata": {"case": "MARKER"}}
SETTINGS = {
    "webhooks": {"allowHTTP": True, "timeoutSeconds": 5, "retrySeconds": [0.1, 0.1, 0.1]},
    "egress": {"allowedNetworks": ["127.0.0.1/32"]},
}
"""127.0.0.1 is somewhere on the internet, and all else of loopback is what nothing may connect to."""
Message = tuple[dict[str, str], str]
"""Headers and body."""


class Receiver:
    """A client's server."""

    def __init__(self, address: str) -> None:
        self.received: list[Message] = []
        self.answers: list[int | str] = []
        """Statuses, addresses of redirects, or "never": of the next requests; then 200."""
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer == "never":
                    receiver.released.wait(60)
                    return
                self.send_response(answer if isinstance(answer, int) else 302)
                if isinstance(answer, str):
                    self.send_header("Location", answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:  # what a client makes of a POST that is redirected
                self.do_POST()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://{address}:{self.port}/hook?token=SECRET"

    def messages(self, count: int) -> list[Message]:
        """Return the requests, once there are as many."""
        return until(lambda: list(self.received), lambda found: len(found) >= count)


@contextmanager
def receiving(address: str = "127.0.0.1") -> Iterator[Receiver]:
    receiver = Receiver(address)
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


@contextmanager
def sending(apiserver: ApiServer, s3: S3Server, folder: Any, namespace: str) -> Iterator[GatewayProcess]:
    folder.mkdir()
    # This S3 server deletes folders with their last object, and then refuses who writes there at the same time.
    s3.client.put_object(Bucket="steno", Key=f"webhooks/{namespace}/{namespace}/{namespace}/kept", Body=b"")
    with running(apiserver, s3, folder, namespace, **SETTINGS) as process:
        yield process


def send(gateway: GatewayProcess, made: NewApiKey, url: Any, **more: Any) -> httpx.Response:
    body = {"kind": "TranscriptionJob", "spec": SPEC, "webhook": url}
    headers = bearer(made.key) | more.pop("headers", {})
    return gateway.client.post("/v1/jobs", headers=headers, **({"json": body} | more))


def create(gateway: GatewayProcess, made: NewApiKey, url: str, **more: Any) -> str:
    answer = send(gateway, made, url, **more)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def verified(made: NewApiKey, message: Message) -> dict[str, Any]:
    """Return a message whose signature is good, as the library of receivers reads it."""
    assert made.record.webhook_secret is not None
    headers, body = message
    return Webhook(made.record.webhook_secret).verify(body, headers)


def attempts(gateway: GatewayProcess, outcome: str) -> float:
    """Return how many attempts have ended so, by the metrics."""
    text = httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics", trust_env=False).text
    wanted = f'steno_gateway_webhooks_total{{outcome="{outcome}"}} '
    (counted,) = (line.removeprefix(wanted) for line in text.splitlines() if line.startswith(wanted))
    return float(counted)


def owed(gateway: GatewayProcess, name: str) -> list[str]:
    return gateway.s3.keys("steno", f"webhooks/{gateway.namespace}/{gateway.namespace}/{gateway.namespace}/{name}/")


def nothing_owed(gateway: GatewayProcess, *names: str) -> None:
    until(lambda: [key for name in names for key in owed(gateway, name)], lambda keys: not keys)


def logged(gateway: GatewayProcess, name: str) -> list[tuple[str, Any]]:
    """Return what the log says of a job's webhook: outcome and status of each attempt."""
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    found = [each for each in lines if each.get("job") == name and each["message"].startswith("webhook ")]
    return [(each["message"].removeprefix("webhook "), each["status"]) for each in found]


def given_up(gateway: GatewayProcess, name: str) -> list[tuple[str, Any]]:
    found = until(lambda: logged(gateway, name), lambda lines: lines and lines[-1][0] == "given up")
    nothing_owed(gateway, name)
    return found
