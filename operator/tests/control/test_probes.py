"""Who may read the operator's metrics; probes are for everyone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import aiohttp
import pytest

from steno_operator.app import listen, run
from steno_operator.settings import Settings
from steno_operator.telemetry import probes

TOKEN = "t" * 40


@pytest.mark.parametrize("needed", [False, True])
def test_metrics_need_the_token_if_there_is_one(*, needed: bool):
    digest = hashlib.sha256(TOKEN.encode()).hexdigest() if needed else None

    async def ask() -> list[int]:
        async with contextlib.AsyncExitStack() as stack:
            app = probes.make_app(lambda: (), lambda: (), lambda: None, digest)
            host, port = await listen(stack, app, ("127.0.0.1", 0))
            session = await stack.enter_async_context(aiohttp.ClientSession(f"http://{host}:{port}"))
            found: list[int] = []
            for path in ("/healthz", "/readyz", "/metrics"):
                for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
                    async with session.get(path, headers=headers) as answer:
                        found.append(answer.status)
                        assert ("steno_leader" in await answer.text()) is (path == "/metrics" and answer.status == 200)
            return found

    assert asyncio.run(ask()) == [200, 200, 200, 200, 401 if needed else 200, 200]


def test_an_operator_does_not_start_with_a_token_that_it_cannot_read(tmp_path, monkeypatch, caplog):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: a, user: {}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    file = tmp_path / "token"
    file.write_text("short")
    given = Settings(runtime_image="a", report_url="http://a", metrics_token_file=str(file))
    assert asyncio.run(run(given)) == 2
    assert "32 characters" in caplog.text
