"""The process' edges: settings, logs, resources of another schema, a network that goes away."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from steno_operator.telemetry.logs import JsonFormatter
from tests.support.apiserver import serve

from .harness import OperatorHarness
from .proxy import Proxy


def test_missing_settings_are_one_clear_line_each(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STENO_")}
    done = subprocess.run(
        [sys.executable, "-m", "steno_operator.app"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "STENO_RUNTIME_IMAGE: Field required" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_line_is_json_and_names_the_resource():
    record = logging.LogRecord("steno", logging.INFO, "x.py", 1, "started attempt %d", (2,), None)
    record.resource = {"kind": "TranscriptionJob", "namespace": "a", "name": "b"}
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "started attempt 2"
    assert line["level"] == "INFO"
    assert line["resource"]["name"] == "b"


@pytest.mark.apiserver
def test_a_resource_of_another_schema_stalls_and_stops_nothing(tmp_path):
    """As after an upgrade that made the schema stricter: the resource is there, and does not fit."""
    from contextlib import ExitStack

    with ExitStack() as stack, serve(controllers=True) as server:
        server.apply_crds()
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/transcriptionjobs.steno.dev"
        crd = server.request("GET", path).body
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema.pop("x-kubernetes-validations", None)
        crd["spec"]["versions"][0].pop("selectableFields", None)
        assert server.request("PUT", path, crd).status == 200
        harness = OperatorHarness(server, server.namespace("control"), tmp_path, stack)
        harness.profile()
        harness.apply("odd", source={"bucket": "an older idea"})
        replica = harness.start()
        harness.wait("Stalled", "odd")
        assert harness.condition("Ready", "odd")["reason"] == "InvalidSpec"
        assert "spec.source: give one of uri and uriSecretRef" in harness.condition("Ready", "odd")["message"]
        harness.apply("good")
        harness.publish(harness.run_pod("good-1"))
        harness.wait("Complete", "good")
        assert replica.metric("steno_reconcile_errors_total") == 0
        harness.patch(harness.job_path("odd"), {"spec": {"source": {"uri": "s3://meetings/talk.wav"}}})
        harness.publish(harness.run_pod("odd-1"))
        harness.wait("Complete", "odd")


@pytest.mark.apiserver
async def test_an_api_server_that_is_away_for_a_while(harness, tmp_path):
    """Without leader election, so that the process has to live through it."""
    import asyncio

    async with Proxy(harness.server, tmp_path).run() as proxy:

        def begin():
            replica = harness.start(kubeconfig=proxy.kubeconfig, leader_election=False)
            harness.apply("first")
            return replica, harness.run_pod("first-1")

        replica, pod = await asyncio.to_thread(begin)
        proxy.shut = True
        proxy.cut()

        def meanwhile():
            harness.publish(pod)
            harness.apply("second")
            harness.until("tries that failed", lambda: replica.metric("steno_watch_restarts_total") >= 8)
            assert replica.get("/healthz")[0] == 200

        await asyncio.to_thread(meanwhile)
        proxy.shut = False

        def after():
            harness.wait("Complete", "first")
            harness.publish(harness.run_pod("second-1"))
            harness.wait("Complete", "second")
            assert replica.process.poll() is None

        await asyncio.to_thread(after)
