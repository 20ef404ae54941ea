"""The OpenAPI schema, checked by what it makes a stranger send: schemathesis, against a real gateway."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from steno_api.gateway.api_keys import ApiKeyLimits
from tests.support.apiserver import ApiServer
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, running

pytestmark = [pytest.mark.apiserver, pytest.mark.slow]

SECONDS = 20
# A job that does not end at once is answered with 504. And no schema can say that `minSpeakers` is at most
# `maxSpeakers`, nor that an Idempotency-Key is for one request. tus refuses a version that it does not know, or none,
# with 412, and a length that is too large with 413. Headers that no schema describes are ignored, as HTTP says.
CONFIG = """
hooks = "hooks.py"
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422, 504]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 429, "5xx"]
[checks.missing_required_header]
expected-statuses = [400, 401, 403, 406, 412, 415, 422]
[[operations]]
include-path = "/v1/uploads/tus"
checks.negative_data_rejection.expected-statuses = [201, 400, 401, 403, 412, 413, 415, 422, 428, 429, "5xx"]
"""

HOOKS = """
import schemathesis
from schemathesis.transport.serialization import serialize_binary

@schemathesis.serializer("application/offset+octet-stream")
def octets(_, value):
    return serialize_binary(value)
"""
"""It knows no media type of tus."""


@contextmanager
def failing(gateway: GatewayProcess) -> Iterator[None]:
    """Have every job fail soon: a stream of events ends with its job."""
    stopped = threading.Event()

    def fail_all() -> None:
        while not stopped.wait(0.1):
            waiting = [job for plural in ("transcriptionjobs", "ocrjobs") for job in gateway.jobs(plural)]
            for name in (job["metadata"]["name"] for job in waiting if "phase" not in job.get("status", {})):
                with suppress(AssertionError):  # it may have been deleted meanwhile
                    gateway.finish(name, reason="Encrypted", message="It has a password.")

    thread = threading.Thread(target=fail_all)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_every_answer_is_described(apiserver: ApiServer, s3: S3Server, tmp_path: Path):
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    (tmp_path / "hooks.py").write_text(HOOKS)
    settings = {"waitSeconds": 0.05, "maxPriority": 1000, "limits": {"tenantRequestsPerMinute": 1_000_000}}
    with running(apiserver, s3, tmp_path, apiserver.namespace(), **settings) as gateway:
        key = gateway.key(limits=ApiKeyLimits(requests_per_minute=1_000_000)).key
        # This S3 server deletes folders with their last object, and then refuses who writes there at the same time.
        s3.client.put_object(Bucket="steno", Key=f"uploads/{gateway.namespace}/form/kept", Body=b"")
        with failing(gateway):
            done = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.client.base_url}/openapi.json",
                 "--header", f"Authorization: Bearer {key}", "--max-time", str(SECONDS), "--seed", "1",
                 "--workers", "1", "--phases", "coverage,fuzzing", "--checks", "all", "--generation-database", "none",
                 "--no-shrink", "--request-timeout", "60", "--continue-on-failure", "--no-color"],
                capture_output=True, text=True, check=False, cwd=tmp_path,
            )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) >= 16
