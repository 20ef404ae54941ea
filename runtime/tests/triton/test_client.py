"""The client: addresses, and errors that say what to do, from a real server where there is one."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models import pp_ocr
from steno_runtime.triton import repository
from steno_runtime.triton.client import TritonClient, TritonServer

LINE = np.zeros((1, 3, 48, 64), np.float32)
OUTPUTS = [repository.INDEX_OUTPUT]


@pytest.fixture
def client(server):
    client = TritonClient(TritonServer.from_url(server.url))
    yield client
    client.close()


def read(client: TritonClient, model: str = repository.RECOGNITION, line: np.ndarray = LINE, outputs=OUTPUTS):
    return client.infer(model, {repository.RECOGNITION_INPUT: line}, outputs)


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("grpc://triton.ml.svc:9001", "triton.ml.svc:9001", False),
        ("grpcs://triton", "triton:8001", True),
        ("localhost:8001", "localhost:8001", False),
        ("grpc://[::1]:8001/", "[::1]:8001", False),
    ],
)
def test_addresses(url, address, tls):
    server = TritonServer.from_url(url)
    assert (server.address, server.tls) == (address, tls)


@pytest.mark.parametrize("url", ["http://triton:8000", "grpc://", "grpc://triton:port", "grpc://triton:8001/v2"])
def test_other_addresses_are_refused(url):
    with pytest.raises(WorkError, match="grpc://HOST:8001") as caught:
        TritonServer.from_url(url)
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_the_environment_names_a_server(monkeypatch, tmp_path):
    monkeypatch.delenv("STENO_TRITON_URL", raising=False)
    assert TritonServer.from_environment() is None
    monkeypatch.setenv("STENO_TRITON_URL", "grpcs://triton:8443")
    monkeypatch.setenv("STENO_TRITON_CA_FILE", str(tmp_path / "ca.pem"))
    assert TritonServer.from_environment() == TritonServer("triton:8443", tls=True, ca_file=tmp_path / "ca.pem")


def test_a_server_that_is_away():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        client = TritonClient(TritonServer.from_url(f"127.0.0.1:{unused.getsockname()[1]}"))
        with pytest.raises(WorkError, match="cannot be reached") as caught:
            read(client)
    assert caught.value.reason is FailureReason.MODEL_UNAVAILABLE


def test_a_server_that_does_not_answer():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = TritonClient(TritonServer(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.3))
        with pytest.raises(WorkError, match=r"did not answer within|cannot be reached") as caught:
            read(client)
    assert caught.value.reason is FailureReason.MODEL_UNAVAILABLE


@pytest.mark.slow
def test_a_model_that_is_absent(client):
    with pytest.raises(WorkError, match=r"has no model 'nothing'.*export-triton") as caught:
        read(client, "nothing")
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND


@pytest.mark.slow
def test_a_model_of_other_inputs(client):
    with pytest.raises(WorkError, match="takes other inputs") as caught:
        read(client, line=np.zeros((1, 1, 48, 64), np.float32))
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND


@pytest.mark.slow
def test_a_model_of_other_outputs(client):
    with pytest.raises(WorkError, match="export-triton") as caught:
        read(client, outputs=["text"])
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND


@pytest.mark.slow
def test_a_model_of_another_file(client):
    client.check_model(repository.RECOGNITION, pp_ocr.model_digest("rec"))
    with pytest.raises(WorkError, match="exported from another file") as caught:
        client.check_model(repository.DETECTION, "0" * 64)
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND
