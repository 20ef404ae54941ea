"""An endpoint behind a network policy that denies everything: the worker's first word, within a minute."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from runtime.tests.conftest import LOOPBACK, mounted_secret
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput
from steno_runtime.errors import WorkError
from steno_runtime.publishing import find_manifest
from steno_runtime.storage import open_output, s3, s3_client


@pytest.fixture(params=["drops packets", "never answers"])
def blackhole(request) -> Iterator[str]:
    """The URL of a port of this machine that is of no use."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0 if request.param == "drops packets" else 50)
        if request.param == "drops packets":  # once the queue of connections is full, Linux drops further ones
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_k18_an_output_that_cannot_be_reached_is_known_within_a_minute(blackhole, tmp_path, monkeypatch):
    """Measured with the real limits: 30 s, for both. Here they are a thirtieth."""
    longest = s3_client.SHORT_RETRY.seconds + max(s3_client._CONNECT_SECONDS, s3_client.READ_SECONDS)
    assert longest <= 60
    monkeypatch.setattr(s3_client, "_CONNECT_SECONDS", 1)
    monkeypatch.setattr(s3, "READ_SECONDS", 1)
    monkeypatch.setattr(s3, "SHORT_RETRY", s3_client.Retries(4, 1))
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    mounted_secret(tmp_path, **keys, AWS_ENDPOINT_URL=blackhole, allowPlainHTTP="true")
    output = open_output(
        TaskOutput(uri="s3://transcripts/a", endpointURL=blackhole, credentials_dir=str(tmp_path), formats=["json"]),
        LOOPBACK,
    )
    started = time.monotonic()
    with pytest.raises(WorkError) as caught:
        find_manifest(output, "uid-1")  # the first thing that a worker does
    assert time.monotonic() - started < 15
    assert caught.value.reason is FailureReason.OUTPUT_UNAVAILABLE
    assert "the S3 endpoint is up and reachable from the cluster" in caught.value.message
