"""Connection settings of a queue. Credentials are files or the process's environment, never part of a URL."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from steno_api.model import Model

Kind = Literal["RedisStreams", "SQS", "Memory"]

SCHEMES: dict[Kind, tuple[str, ...]] = {"RedisStreams": ("rediss", "redis"), "SQS": ("https", "http"), "Memory": ()}
"""Of a queue's URL: the first is encrypted."""
PRIORITY = "{priority}"
"""In the URL of an SQS queue: `high`, `normal` and `low` are put here, three queues in all."""


class QueueSettings(Model):
    """Which queue, and how its messages are kept.

    Redis: user and password are files `username` and `password` of `credentials_dir`. SQS: `AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` are; without a directory AWS's own order of sources counts, such as
    the role of the pod's ServiceAccount.
    """

    kind: Kind
    url: str = ""
    """Redis: `rediss://host:port/database`. SQS: the queue's URL; `{priority}` in it stands for three queues."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,300}$")] = "steno"
    """Redis: queues of different names share a server. SQS: not used."""
    dead_letter_url: str = ""
    """SQS: the URL of the queue for messages that are delivered no more."""
    region: str | None = None
    """SQS: AWS's region, where the URL does not name it."""
    credentials_dir: Path | None = None
    ca_file: Path | None = None
    """CA certificates (PEM) that the server is verified with; absent: those of the system."""
    allow_plaintext: bool = False
    """Connect without TLS to other machines."""
    visibility_seconds: Annotated[float, Field(ge=0.05, le=43200)] = 60.0
    """A message that is not acknowledged or extended for this long is delivered again. SQS: whole seconds."""
    max_receives: Annotated[int, Field(ge=1, le=1000)] = 5
    """Deliveries of a message before it goes to the dead letters."""
    deduplication_seconds: Annotated[int, Field(ge=1)] = 300
    """How long the id of a message that is done is remembered; of FIFO queues of SQS it is always 300."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 256 * 1024

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "Memory":
            return self
        _check_url(self.url, self)
        if self.kind == "SQS":
            if not self.dead_letter_url:
                raise ValueError("an SQS queue needs deadLetterURL, the queue for messages that are delivered no more")
            _check_url(self.dead_letter_url, self)
            if urlsplit(self.dead_letter_url).netloc != urlsplit(self.url).netloc:
                raise ValueError("deadLetterURL must be on the same server as url")
        return self


def _check_url(url: str, settings: QueueSettings) -> None:
    encrypted, plain = SCHEMES[settings.kind]
    parts = urlsplit(url)
    if parts.scheme not in (encrypted, plain) or not parts.hostname:
        raise ValueError(f"the URL of a {settings.kind} queue begins with {encrypted}://host")
    if parts.username or parts.password or parts.query:
        raise ValueError("the queue's URL may hold neither credentials nor options: use credentialsDir")
    if parts.scheme == plain and not (settings.allow_plaintext or _is_loopback(parts.hostname)):
        raise ValueError(f"use {encrypted}:// for a queue on another machine, or set allowPlaintext: true")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
