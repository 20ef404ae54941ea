"""Bounded reading of HTTP answers: `aiohttp` itself reads all of a body, or as much as has arrived."""

from __future__ import annotations

import aiohttp


class AnswerTooLargeError(Exception):
    """An answer is larger than any that is right."""


async def read_answer(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the whole body of an answer.

    Args:
        response: whose body was not read yet.
        limit: the most bytes.

    Raises:
        AnswerTooLargeError: it has more.
        aiohttp.ClientError: it breaks off.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise AnswerTooLargeError(f"{response.url} has more than {limit // 1024} KiB")
    return bytes(body)
