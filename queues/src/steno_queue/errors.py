"""Errors of a queue: whatever server is behind it, callers see these."""

from __future__ import annotations


class QueueError(Exception):
    """A queue cannot do what was asked; the text is for people and says what to do."""


class QueueUnavailableError(QueueError):
    """The server does not answer, or not now: try again later."""


class QueueDeniedError(QueueError):
    """The server refuses the credentials, or there is no such queue: somebody must change the configuration."""


class MessageTooLargeError(QueueError):
    """A message has more bytes than the queue takes."""


class MessageMalformedError(QueueError):
    """A message is not one that this version understands."""
