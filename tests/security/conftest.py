"""Fixtures of the attacks: recordings, and a server process with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from runtime.tests.conftest import media, sample_wav
from runtime.tests.serve.conftest import TokenIssuer
from runtime.tests.serve.process import Process, pool_task

__all__ = ["issuer", "media", "sample_wav", "server"]


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture(scope="module")
def server(issuer: TokenIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("server")
    process = Process(folder / "server.log", "--task", json.dumps(pool_task(issuer, folder)))
    yield process
    process.process.kill()
    process.process.wait()
