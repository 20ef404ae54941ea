"""The gateway's /metrics, on its port."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from steno_gateway.transports.metrics import serve_metrics

TOKEN = "t" * 40


@pytest.fixture(params=[None, TOKEN], ids=["open", "with a token"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str | None, str]]:
    """The token that is needed, and the address."""
    digest = request.param and hashlib.sha256(request.param.encode()).hexdigest()
    server = serve_metrics("127.0.0.1", 0, digest)
    yield request.param, f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()


def test_metrics_need_the_token_if_there_is_one(served: tuple[str | None, str]):
    token, url = served
    for headers, admitted in (({}, token is None), ({"Authorization": f"Bearer {TOKEN}"}, True)):
        answer = httpx.get(url, headers=headers, trust_env=False)
        assert answer.status_code == (200 if admitted else 401)
        assert ("# HELP " in answer.text) is admitted
    wrong = httpx.get(url, headers={"Authorization": "Bearer another"}, trust_env=False)
    assert wrong.status_code == (200 if token is None else 401)
