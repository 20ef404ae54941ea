"""The way to the API server."""

from __future__ import annotations

import asyncio

import pytest

from steno_kube.client import Cluster, environment_proxy


def test_a_proxy_of_the_environment_is_used_unless_the_host_is_exempt(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.1,.cluster.local")
    assert environment_proxy("https://kube.example.com:6443") == "http://proxy:3128"
    assert environment_proxy("https://10.0.0.1:443") is None
    assert environment_proxy("https://kubernetes.default.svc.cluster.local") is None
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("https_proxy", raising=False)
    assert environment_proxy("https://kube.example.com:6443") is None


@pytest.mark.apiserver
def test_watches_of_many_namespaces_do_not_hold_up_a_request(harness, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(harness.server.kubeconfig))

    async def run() -> str:
        cluster = await Cluster.connect()
        path = f"/api/v1/namespaces/{harness.namespace}"
        watch = {"watch": "true", "timeoutSeconds": "60"}
        watches = [asyncio.ensure_future(cluster.request("GET", f"{path}/pods", query=watch)) for _ in range(130)]
        await asyncio.sleep(0)  # all of them have asked for a connection
        try:
            answer = await asyncio.wait_for(cluster.request("GET", path), 30)
        finally:
            for each in watches:
                each.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await cluster.close()
        return answer["metadata"]["name"]

    assert asyncio.run(run()) == harness.namespace
