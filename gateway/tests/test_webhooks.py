"""Webhooks: what a client's server receives of a job's end, whatever it answers, and although replicas stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from steno_api.gateway.api_keys import NewApiKey
from tests.support.apiserver import ApiServer
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, bearer, until
from .webhook_support import (
    Receiver,
    attempts,
    create,
    given_up,
    logged,
    nothing_owed,
    owed,
    receiving,
    send,
    sending,
    verified,
)

pytestmark = pytest.mark.apiserver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def sender(
    apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, NewApiKey]]:
    with sending(apiserver, s3, tmp_path_factory.mktemp("webhooks") / "one", apiserver.namespace()) as gateway:
        yield gateway, gateway.key(webhooks=True)


def test_the_end_of_a_job_is_reported_signed_and_without_content(sender, receiver: Receiver):
    gateway, made = sender
    name = create(gateway, made, receiver.url)
    (record,) = owed(gateway, name)
    stored = gateway.s3.client.get_object(Bucket="steno", Key=record)["Body"].read().decode()
    assert made.record.webhook_secret not in stored
    gateway.progress(name, "Decoding", 50)
    gateway.finish(name, {"text": "MARKER"})
    (message,) = receiver.messages(1)
    event, job = verified(made, message), gateway.job(name)
    assert event.pop("timestamp")
    assert event == {
        "type": "job.succeeded",
        "data": {
            "id": name, "kind": "TranscriptionJob", "status": "succeeded",
            "created": job["metadata"]["creationTimestamp"], "ended": job["status"]["completionTime"],
        },
    }  # fmt: skip
    assert "MARKER" not in str(message)
    assert message[0]["webhook-id"] == job["metadata"]["annotations"]["steno.dev/webhook"]
    assert message[0]["content-type"] == "application/json"
    nothing_owed(gateway, name)
    assert len(receiver.received) == 1
    assert logged(gateway, name) == [("delivered", 200)]
    assert "SECRET" not in gateway.log.read_text()


def test_a_job_of_a_file_that_fails(sender, receiver: Receiver):
    gateway, made = sender
    form = {"kind": "OCRJob", "webhook": receiver.url}
    name = create(gateway, made, "", json=None, data=form, files={"file": ("a.pdf", b"%PDF-1.7")})
    gateway.finish(name, reason="Encrypted", message="MARKER has a password.")
    (message,) = receiver.messages(1)
    event = verified(made, message)
    assert (event["type"], event["data"]["kind"], event["data"]["error"]) == ("job.failed", "OCRJob", "Encrypted")
    assert "MARKER" not in message[1]


def test_a_job_that_is_deleted_before_its_end_is_cancelled(sender, receiver: Receiver):
    gateway, made = sender
    name = create(gateway, made, receiver.url)
    assert gateway.client.delete(f"/v1/jobs/{name}", headers=bearer(made.key)).status_code == 204
    (message,) = receiver.messages(1)
    event = verified(made, message)
    assert (event["type"], event["data"]["status"], event["data"]["id"]) == ("job.cancelled", "cancelled", name)


@pytest.mark.parametrize("first", [500, 404, "never"])
def test_what_is_not_taken_is_sent_again(sender, receiver: Receiver, first: int | str):
    gateway, made = sender
    receiver.answers = [first, 429]
    before = attempts(gateway, "failed"), attempts(gateway, "delivered")
    name = create(gateway, made, receiver.url)
    gateway.finish(name, {"text": "a"})
    messages = receiver.messages(3)
    assert len({headers["webhook-id"] for headers, _ in messages}) == 1
    assert len({body for _, body in messages}) == 1
    assert [verified(made, each)["data"]["id"] for each in messages] == [name] * 3
    nothing_owed(gateway, name)
    status = "timeout" if first == "never" else first
    assert logged(gateway, name) == [("failed", status), ("failed", 429), ("delivered", 200)]
    assert (attempts(gateway, "failed"), attempts(gateway, "delivered")) == (before[0] + 2, before[1] + 1)


@pytest.mark.parametrize("answers", [[410], [500] * 4])
def test_it_is_given_up_when_the_receiver_says_so_or_no_attempt_is_left(sender, receiver: Receiver, answers: list[int]):
    gateway, made = sender
    receiver.answers = [*answers]
    name = create(gateway, made, receiver.url)
    gateway.finish(name, {"text": "a"})
    assert [status for _, status in given_up(gateway, name)] == answers
    assert len(receiver.received) == len(answers)


def test_a_redirect_is_not_followed(sender, receiver: Receiver):
    gateway, made = sender
    with receiving("127.0.0.2") as metadata:
        receiver.answers = [f"http://127.0.0.2:{metadata.port}/latest", f"http://127.0.0.1:{receiver.port}/else"]
        name = create(gateway, made, receiver.url)
        gateway.finish(name, {"text": "a"})
        receiver.messages(3)
        nothing_owed(gateway, name)
        assert logged(gateway, name) == [("failed", 302), ("failed", 302), ("delivered", 200)]
        assert metadata.received == []


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "127.2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]"])
def test_a_denied_address_is_not_connected_to_however_it_is_written(sender, host: str):
    gateway, made = sender
    with receiving("127.0.0.2") as metadata:
        name = create(gateway, made, f"http://{host}:{metadata.port}/")
        gateway.finish(name, {"text": "a"})
        assert given_up(gateway, name) == [("failed", "forbidden")] * 3 + [("given up", "forbidden")]
        assert metadata.received == []


def test_a_revoked_key_takes_its_webhooks_with_it(sender, receiver: Receiver):
    gateway, _ = sender
    made = gateway.key(webhooks=True)
    name = create(gateway, made, receiver.url)
    gateway.revoke(made.record)
    until(
        lambda: gateway.client.get(f"/v1/jobs/{name}", headers=bearer(made.key)).status_code,
        lambda status: status == 401,
    )
    gateway.finish(name, {"text": "a"})
    assert given_up(gateway, name) == [("given up", "revoked")]
    assert receiver.received == []


def test_the_same_request_again_owes_one_message(sender, receiver: Receiver):
    gateway, made = sender
    headers = {"Idempotency-Key": "hook-1"}
    name = create(gateway, made, receiver.url, headers=headers)
    assert create(gateway, made, receiver.url, headers=headers) == name
    assert len(owed(gateway, name)) == 1
    other = send(gateway, made, f"{receiver.url}&other", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IdempotencyConflict")
    gateway.finish(name, {"text": "a"})
    receiver.messages(1)
    nothing_owed(gateway, name)
    assert create(gateway, made, receiver.url, headers=headers) == name
    assert owed(gateway, name) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://ann:secret@hooks.example.com/",
        "https:///hook",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com:port/",
        f"https://hooks.example.com/{'a' * 2048}",
        7,
    ],
)
def test_what_is_no_encrypted_url_is_refused(gateway: GatewayProcess, url: Any):
    before = len(gateway.jobs())
    answer = send(gateway, gateway.key(webhooks=True), url)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert "webhook" in answer.json()["detail"]
    assert len(gateway.jobs()) == before


def test_a_key_without_a_secret_has_no_webhooks(gateway: GatewayProcess):
    answer = send(gateway, gateway.key(), "https://hooks.example.com/")
    assert (answer.status_code, answer.json()["code"]) == (400, "NotSupported")
    assert "steno key create --webhooks" in answer.json()["detail"]


def test_another_replica_goes_on_where_one_was_lost(apiserver: ApiServer, s3: S3Server, tmp_path, receiver: Receiver):
    """The message of one job is on its way then; the other job is deleted while no gateway runs."""
    namespace = apiserver.namespace()
    receiver.answers = ["never"]
    with ExitStack() as stack:
        lost = stack.enter_context(sending(apiserver, s3, tmp_path / "first", namespace))
        made = lost.key(webhooks=True)
        ended, deleted = (create(lost, made, receiver.url) for _ in range(2))
        lost.finish(ended, {"text": "a"})
        receiver.messages(1)
        lost.kill()
        for name in (ended, deleted):
            path = f"/apis/steno.dev/v1alpha1/namespaces/{namespace}/transcriptionjobs/{name}"
            assert apiserver.request("DELETE", path).status == 200
        second = stack.enter_context(sending(apiserver, s3, tmp_path / "second", namespace))
        nothing_owed(second, ended, deleted)
    events = {(verified(made, each)["data"]["id"], verified(made, each)["type"]) for each in receiver.received}
    assert events == {(ended, "job.succeeded"), (deleted, "job.cancelled")}
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 2
    assert len(receiver.received) == 3


def test_of_two_replicas_one_sends(apiserver: ApiServer, s3: S3Server, tmp_path, receiver: Receiver):
    namespace = apiserver.namespace()
    receiver.answers = ["never"] * 4
    with (
        sending(apiserver, s3, tmp_path / "one", namespace) as one,
        sending(apiserver, s3, tmp_path / "two", namespace) as two,
    ):
        name = create(one, made := one.key(webhooks=True), receiver.url)
        one.finish(name, {"text": "a"})
        # Two attempts without an answer take longer than a replica needs to notice that there is something to send.
        failed = until(lambda: (logged(one, name), logged(two, name)), lambda found: len(found[0] + found[1]) >= 2)
        assert [] in failed
        assert len(receiver.received) <= 3
        assert verified(made, receiver.received[0])["data"]["id"] == name
