"""Webhooks of jobs whose gateway was lost while it created them, between one of its writes and the next."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from steno_api.gateway.api_keys import NewApiKey
from tests.support.apiserver import ApiServer
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, until
from .s3_gate import gate
from .webhook_support import Receiver, create, nothing_owed, owed, receiving, send, sending, verified

pytestmark = pytest.mark.apiserver

AGAIN = {"Idempotency-Key": "again"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@contextmanager
def asking(gateway: GatewayProcess, made: NewApiKey, url: str) -> Iterator[None]:
    """Ask for a job; the answer may never come."""

    def ask() -> None:
        with suppress(httpx.TransportError):
            send(gateway, made, url, headers=AGAIN)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def stopped_once_a_job_is_there(
    apiserver: ApiServer, s3: S3Server, folder: Path, receiver: Receiver
) -> Iterator[tuple[GatewayProcess, NewApiKey, str]]:
    """A gateway that has created a job, and cannot write down anything about its webhook from then on."""
    namespace = apiserver.namespace()
    path = f"/apis/steno.dev/v1alpha1/namespaces/{namespace}/transcriptionjobs"

    def holds(method: str, place: str) -> bool:
        return method == "PUT" and "/webhooks/" in place and bool(apiserver.request("GET", path).body["items"])

    with (
        gate(s3, holds) as closed,
        sending(apiserver, closed.s3, folder, namespace) as gateway,
        asking(gateway, made := gateway.key(webhooks=True), receiver.url),
    ):
        assert closed.held.wait(60)
        (job,) = gateway.jobs()
        yield gateway, made, job["metadata"]["name"]
        gateway.kill()


def test_a_job_whose_gateway_is_lost_as_soon_as_it_is_created_is_reported(
    apiserver: ApiServer, s3: S3Server, tmp_path: Path, receiver: Receiver
):
    with stopped_once_a_job_is_there(apiserver, s3, tmp_path / "first", receiver) as (lost, made, name):
        pass
    with sending(apiserver, s3, tmp_path / "second", lost.namespace) as second:
        second.finish(name, {"text": "a"})
        (message,) = receiver.messages(1)
        nothing_owed(second, name)
    event = verified(made, message)
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", name)
    assert event["data"]["created"] == second.job(name)["metadata"]["creationTimestamp"]


def test_a_job_that_ends_before_its_request_is_answered_is_reported_at_once(
    apiserver: ApiServer, s3: S3Server, tmp_path: Path, receiver: Receiver
):
    with stopped_once_a_job_is_there(apiserver, s3, tmp_path / "first", receiver) as (gateway, made, name):
        gateway.finish(name, {"text": "a"})
        (message,) = receiver.messages(1)
        assert verified(made, message)["type"] == "job.succeeded"


def test_a_job_that_was_never_created_is_not_reported(
    apiserver: ApiServer, s3: S3Server, tmp_path: Path, receiver: Receiver
):
    namespace = apiserver.namespace()

    def holds(method: str, place: str) -> bool:
        return method == "PUT" and "/webhooks/" in place

    with gate(s3, holds, arrives=True) as closed, sending(apiserver, closed.s3, tmp_path / "first", namespace) as lost:
        made = lost.key(webhooks=True)
        with asking(lost, made, receiver.url):
            assert closed.held.wait(60)
            lost.kill()
        assert lost.jobs() == []
    with sending(apiserver, s3, tmp_path / "second", namespace) as second:
        name = create(second, made, receiver.url, headers=AGAIN)
        message = second.job(name)["metadata"]["annotations"]["steno.dev/webhook"]
        (left,) = (key for key in owed(second, name) if not key.endswith(message))
        second.finish(name, {"text": "a"})
        until(lambda: owed(second, name), lambda keys: keys == [left])
    record = json.loads(s3.client.get_object(Bucket="steno", Key=left)["Body"].read())
    old = record | {"written": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    s3.client.put_object(Bucket="steno", Key=left, Body=json.dumps(old).encode())
    with sending(apiserver, s3, tmp_path / "third", namespace) as third:
        nothing_owed(third, name)
    assert [verified(made, each)["type"] for each in receiver.received] == ["job.succeeded"]
