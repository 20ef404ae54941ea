"""Queue on SQS, standard or FIFO: leases are its visibility timeouts; one queue, or one for each priority class.

SQS has no priorities, so with `{priority}` in the URL there are three queues, read in order. FIFO queues deduplicate by
the message's id, and each message is a group of its own, so that none waits for another. Dead letters are sent by the
consumer, with their reason; a redrive policy of the queue may do the same for what consumers never come to.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from steno_api.s3 import CREDENTIAL_KEYS
from steno_queue.errors import MessageMalformedError, QueueDeniedError, QueueUnavailableError
from steno_queue.interface import DeadLetter, Delivery, Depth
from steno_queue.message import CLASSES, Message, admit, too_often
from steno_queue.settings import PRIORITY, QueueSettings

LONGEST_WAIT_SECONDS = 20
"""SQS's own limit of one request."""
SWEEP_SECONDS = 1
"""How long to wait on one of several queues before all of them are looked at again."""
MAX_MESSAGES = 10
TIMEOUT_SECONDS = 10

_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - a file's name
_DENIED = ("AccessDenied", "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
           "UnrecognizedClient", "InvalidSecurity", "MissingAuthenticationToken", "IncompleteSignature",
           "AuthFailure", "OptInRequired")  # fmt: skip
_MISSING = ("NonExistentQueue", "QueueDoesNotExist")
_LEASE_ENDED = ("ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue")
_RECEIVES = "ApproximateReceiveCount"


class SQSQueue:
    """See `Queue`."""

    def __init__(self, settings: QueueSettings) -> None:
        """Prepare; the client is made when it is needed."""
        self._settings = settings
        self._urls = [settings.url.replace(PRIORITY, each) for each in CLASSES]
        if PRIORITY not in settings.url:
            self._urls = [settings.url]
        self._dead_url = settings.dead_letter_url
        self.visibility = math.ceil(settings.visibility_seconds)
        self._open = contextlib.AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()

    @property
    def deduplicates(self) -> bool:
        """See `Queue`."""
        return _is_fifo(self._settings.url)

    async def publish(self, message: Message) -> bool:
        """See `Queue`."""
        body = message.encode(self._settings.max_message_bytes)
        url = self._urls[CLASSES.index(message.priority_class) if len(self._urls) > 1 else 0]
        async with self._calling() as client:
            await client.send_message(QueueUrl=url, MessageBody=body, **_fifo(url, message.id))
        return True

    async def receive(self, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """See `Queue`."""
        deadline = time.monotonic() + wait
        while True:
            found: list[Delivery] = []
            for url in self._urls:
                if len(found) < limit:
                    found += await self._lease(url, limit - len(found), 0)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            if left < 1:
                await asyncio.sleep(min(left, 0.2))
                continue
            several = len(self._urls) > 1
            pause = min(int(left), SWEEP_SECONDS if several else LONGEST_WAIT_SECONDS)
            # Of several queues the one in the middle is waited on: most messages are of its class.
            found = await self._lease(self._urls[len(self._urls) // 2], limit, pause)
            if found:
                return found

    async def depth(self) -> Depth:
        """See `Queue`."""
        waiting = in_flight = 0
        for url in self._urls:
            async with self._calling() as client:
                answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            counts = answer["Attributes"]
            waiting += int(counts["ApproximateNumberOfMessages"])
            in_flight += int(counts["ApproximateNumberOfMessagesNotVisible"])
            in_flight += int(counts.get("ApproximateNumberOfMessagesDelayed", 0))
        return Depth(waiting, in_flight, None)

    async def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """See `Queue`. What is not acknowledged is returned again after the visibility timeout."""
        async with self._calling() as client:
            answer = await client.receive_message(
                QueueUrl=self._dead_url,
                MaxNumberOfMessages=min(limit, MAX_MESSAGES),
                VisibilityTimeout=self.visibility,
                MessageSystemAttributeNames=[_RECEIVES],
                MessageAttributeNames=["All"],
            )
        letters: list[DeadLetter] = []
        for found in answer.get("Messages", []):
            texts = {name: value.get("StringValue") for name, value in found.get("MessageAttributes", {}).items()}
            # A redrive policy moves messages without a word.
            receives = int(texts.get("receives") or self._settings.max_receives)
            ack = functools.partial(self.delete, self._dead_url, found["ReceiptHandle"])
            letters.append(DeadLetter(found["Body"], texts.get("reason") or too_often(receives), receives, ack))
        return letters

    async def aclose(self) -> None:
        """See `Queue`."""
        self._client = None
        await self._open.aclose()

    async def delete(self, url: str, receipt: str) -> None:
        """Remove a message from one of the queues."""
        async with self._calling() as client:
            with _lease_ended():
                await client.delete_message(QueueUrl=url, ReceiptHandle=receipt)

    async def set_visibility(self, url: str, receipt: str, seconds: int) -> bool:
        """Have a message delivered again after some seconds; return whether it is still this consumer's."""
        async with self._calling() as client:
            with _lease_ended() as ended:
                await client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=seconds)
        return not ended

    async def bury(self, delivery: _Received, reason: str) -> None:
        """Move a message to the dead letters."""
        texts = {"reason": reason, "receives": str(delivery.receives)}
        attributes = {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}
        async with self._calling() as client:
            await client.send_message(
                QueueUrl=self._dead_url,
                MessageBody=delivery.body,
                MessageAttributes=attributes,
                **_fifo(self._dead_url, delivery.message_id),
            )
        await self.delete(delivery.url, delivery.receipt)

    async def _lease(self, url: str, limit: int, wait: int) -> list[Delivery]:
        async with self._calling() as client:
            answer = await client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(limit, MAX_MESSAGES),
                VisibilityTimeout=self.visibility,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=[_RECEIVES],
            )
        found: list[Delivery] = []
        for each in answer.get("Messages", []):
            receives = int(each.get("Attributes", {}).get(_RECEIVES, 1))
            received = _Received(url, each["ReceiptHandle"], each["Body"], receives, each["MessageId"])
            try:
                message = admit(received.body, receives, self._settings.max_receives)
            except MessageMalformedError as error:
                await self.bury(received, str(error))
            else:
                found.append(SQSDelivery(message, received, self))
        return found

    @contextlib.asynccontextmanager
    async def _calling(self) -> AsyncIterator[Any]:
        """Yield the client, and turn the library's errors into those of a queue."""
        try:
            yield await self._connected()
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise QueueDeniedError(f"There are no credentials for SQS: {error}") from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if any(word in code for word in _DENIED):
                await self._reconnect_later()
                raise QueueDeniedError(
                    f"SQS refuses the credentials ({code}). Check the queue's Secret or the pod's role, and that it "
                    "may send, receive, delete and change the visibility of messages."
                ) from error
            if any(word in code for word in _MISSING):
                raise QueueDeniedError("SQS has no queue of this URL. Create it, or correct the URL.") from error
            raise QueueUnavailableError(f"SQS cannot be used now: {error}") from error
        except (TimeoutError, BotoCoreError, OSError) as error:
            raise QueueUnavailableError(f"SQS cannot be used now: {error or type(error).__name__}") from error

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                keys = await asyncio.to_thread(_credentials, self._settings.credentials_dir)
                parts = urlsplit(self._settings.url)
                self._client = await self._open.enter_async_context(
                    _session().create_client(
                        "sqs",
                        endpoint_url=f"{parts.scheme}://{parts.netloc}",
                        region_name=self._settings.region or _region(parts.hostname or ""),
                        verify=str(self._settings.ca_file) if self._settings.ca_file else None,
                        config=AioConfig(
                            connect_timeout=TIMEOUT_SECONDS / 2,
                            read_timeout=LONGEST_WAIT_SECONDS + TIMEOUT_SECONDS,
                            retries={"mode": "standard", "max_attempts": 2},
                        ),
                        **keys,
                    )
                )
            return self._client

    async def _reconnect_later(self) -> None:
        """Read the credentials again the next time: they may have been replaced."""
        async with self._opening:
            self._client = None
            await self._open.aclose()


@dataclass(frozen=True)
class _Received:
    """A message as SQS gave it."""

    url: str
    receipt: str
    body: str
    receives: int
    message_id: str
    """SQS's own; it is all that there is of a malformed message."""


@dataclass(frozen=True)
class SQSDelivery:
    """See `Delivery`."""

    message: Message
    received: _Received
    queue: SQSQueue

    @property
    def receives(self) -> int:
        """See `Delivery`."""
        return self.received.receives

    async def extend(self) -> bool:
        """See `Delivery`."""
        return await self._set(self.queue.visibility)

    async def ack(self) -> None:
        """See `Delivery`."""
        await self.queue.delete(self.received.url, self.received.receipt)

    async def release(self, delay: float = 0.0) -> None:
        """See `Delivery`."""
        await self._set(min(math.ceil(delay), self.queue.visibility))

    async def reject(self, reason: str) -> None:
        """See `Delivery`."""
        await self.queue.bury(self.received, reason)

    async def _set(self, seconds: int) -> bool:
        return await self.queue.set_visibility(self.received.url, self.received.receipt, seconds)


@functools.cache
def _session() -> AioSession:
    """Return botocore's session, which keeps what it reads of the service: that takes a while."""
    return get_session()


@contextlib.contextmanager
def _lease_ended() -> Iterator[list[str]]:
    """Take no notice of a lease that has ended; what is yielded is then not empty."""
    ended: list[str] = []
    try:
        yield ended
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if not any(word in code for word in _LEASE_ENDED):
            raise
        ended.append(code)


def _is_fifo(url: str) -> bool:
    return url.endswith(".fifo")


def _fifo(url: str, message_id: str) -> Mapping[str, str]:
    return {"MessageGroupId": message_id, "MessageDeduplicationId": message_id} if _is_fifo(url) else {}


def _region(host: str) -> str:
    """Return the region that a host of AWS names: `sqs.<region>.amazonaws.com`."""
    parts: Sequence[str] = host.split(".")
    return parts[1] if len(parts) > 3 and parts[0] == "sqs" else "us-east-1"


def _credentials(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    names = (*CREDENTIAL_KEYS, _SESSION_TOKEN)
    return {
        name.lower(): (folder / name).read_text(encoding="utf-8").strip() for name in names if (folder / name).exists()
    }
