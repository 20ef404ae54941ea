"""Messages, and the settings of queues, without a server."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from steno_queue.errors import MessageMalformedError, MessageTooLargeError
from steno_queue.message import Message
from steno_queue.settings import QueueSettings

from .backends import make_message

BIG = 10**6


def test_the_official_sdk_reads_a_message():
    message = make_message(priority=7)
    event = JSONFormat().read(CloudEvent, message.encode(BIG))
    assert event.get_id() == "uid/1"
    assert event.get_source() == "/steno/team/ocr"
    assert event.get_type() == "dev.steno.attempt.v1"
    assert event.get_subject() == "team/job-uid"
    assert event.get_time() == message.time
    assert event.get_datacontenttype() == "application/json"
    assert (event.get_extension("tenant"), event.get_extension("priority")) == ("acme", 7)
    assert event.get_data() == message.data


def test_a_newer_publishers_attributes_are_no_error():
    body = json.loads(make_message().encode(BIG)) | {"traceparent": "00-1-2-01"}
    assert Message.parse(json.dumps(body)).id == "uid/1"


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"id": "a b"}, "id"), ({"priority": 1001}, "priority"), ({"time": "yesterday"}, "time"), ({"data": [1]}, "data")],
)
def test_what_is_wrong_with_a_message_is_named_but_not_quoted(changed, named):
    body = json.loads(make_message().encode(BIG)) | changed
    with pytest.raises(MessageMalformedError, match=rf"\b{named}\b") as caught:
        Message.parse(json.dumps(body))
    assert "yesterday" not in str(caught.value)


def test_a_task_of_another_version_names_the_remedy():
    with pytest.raises(MessageMalformedError, match="Use a runtime image of the operator's version"):
        make_message(data={"kind": "VideoTask"}).task()


def test_bytes_count_not_characters():
    message = make_message()
    size = len(message.encode(BIG).encode())
    assert message.encode(size)
    with pytest.raises(MessageTooLargeError, match=f"has {size} bytes, and the queue takes {size - 1}"):
        message.encode(size - 1)


@pytest.mark.parametrize(
    ("kind", "url", "why"),
    [
        ("RedisStreams", "http://host", "begins with rediss://host"),
        ("RedisStreams", "rediss://user:password@host", "may hold neither credentials"),
        ("RedisStreams", "redis://queue.example", "use rediss:// for a queue on another machine"),
        ("RedisStreams", "rediss:///0", "begins with rediss://host"),
        ("SQS", "https://sqs.eu-west-1.amazonaws.com/1/steno", "needs deadLetterURL"),
        ("SQS", "http://queue.example/1/steno", "use https:// for a queue on another machine"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, url, why):
    with pytest.raises(ValidationError, match=why) as caught:
        QueueSettings(kind=kind, url=url)
    assert "password@" not in caught.value.errors(include_input=False).__repr__()


def test_settings_that_can_be():
    assert QueueSettings(kind="RedisStreams", url="redis://127.0.0.1:6379/2")
    assert QueueSettings(kind="RedisStreams", url="redis://queue.example", allow_plaintext=True)
    wire = {"kind": "SQS", "url": "https://sqs.eu-west-1.amazonaws.com/1/a", "maxReceives": 3}
    dead = "https://sqs.eu-west-1.amazonaws.com/1/dead"
    assert QueueSettings.from_wire(wire | {"deadLetterURL": dead}).max_receives == 3
    with pytest.raises(ValidationError, match="on the same server"):
        QueueSettings.from_wire(wire | {"deadLetterURL": "https://elsewhere.example/1/dead"})
