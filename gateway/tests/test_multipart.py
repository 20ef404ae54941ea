"""Multipart forms: the same fields and file, however the bytes arrive; damage is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from steno_api.server.errors import ApiError
from steno_gateway.transports.multipart import MAX_FIELD_BYTES, MAX_FIELDS, read_form

BOUNDARY = "----boundary7MA4YWxkTrZu0gW"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


def body(fields: dict[str, str], file: bytes | None, *, name: str = "file", before: int = 0) -> bytes:
    """A form as curl sends it, with the file after some of the fields."""
    parts = [
        f'Content-Disposition: form-data; name="{key}"\r\n\r\n'.encode() + value.encode()
        for key, value in fields.items()
    ]
    if file is not None:
        named = f'Content-Disposition: form-data; name="{name}"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        parts.insert(before, named.encode() + file)
    lines = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return lines + b"--" + BOUNDARY.encode() + b"--\r\n"


def request(data: bytes, sizes: list[int] | None = None, content_type: str = "") -> Request:
    """A request whose body arrives in pieces of these sizes, over and over."""
    pieces, place, number = [], 0, 0
    while place < len(data):
        size = sizes[number % len(sizes)] if sizes else len(data)
        pieces.append(data[place : place + size])
        place, number = place + size, number + 1
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    kind = content_type or f"multipart/form-data; boundary={BOUNDARY}"
    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}, receive)


def read(asked: Request, max_bytes: int = 10_000_000) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    saved: list[tuple[str, bytes]] = []

    async def save(filename: str, chunks: AsyncIterator[bytes]) -> None:
        saved.append((filename, b"".join([chunk async for chunk in chunks])))

    return asyncio.run(read_form(asked, save, file_field="file", max_bytes=max_bytes)), saved


def code(asked: Request, max_bytes: int = 10_000_000) -> str:
    with pytest.raises(ApiError) as caught:
        read(asked, max_bytes)
    return caught.value.status.code


@given(
    st.dictionaries(NAMES, TEXT, max_size=5),
    st.binary(max_size=300) | st.just(f"--{BOUNDARY[:-1]}\r\n--".encode() * 3),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_a_form_is_read_however_it_arrives(fields: dict[str, str], file: bytes, sizes: list[int], before: int):
    fields.pop("file", None)
    assert read(request(body(fields, file, before=before), sizes)) == (fields, [("a.wav", file)])


def test_the_values_of_a_repeated_field_are_joined():
    twice = body({"languages[]": "ko", "languages[x": "en"}, b"").replace(b"[x", b"[]")
    assert read(request(twice, [7])) == ({"languages[]": "ko,en"}, [("a.wav", b"")])


@given(st.integers(0, 400))
def test_a_form_that_ends_early_is_damaged(cut: int):
    whole = body({"language": "ko"}, b"RIFF" * 10)
    asked = request(whole[: min(cut, len(whole) - 5)], [7])
    assert code(asked) == "InvalidRequest"


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=3))
def test_what_is_no_form_is_refused(data: bytes, sizes: list[int]):
    assert code(request(data, sizes)) == "InvalidRequest"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(body({"a": "x" * (MAX_FIELD_BYTES + 1)}, b"")), "TooLarge"),
        (request(body({f"a{number}": "" for number in range(MAX_FIELDS + 1)}, b"")), "InvalidRequest"),
        (request(body({}, None)), "InvalidRequest"),
        (request(body({}, b"", name="other")), "InvalidRequest"),
        (request(body({}, b""), content_type="application/json"), "InvalidRequest"),
        (request(body({}, b""), content_type="multipart/form-data"), "InvalidRequest"),
        (request(body({}, b"x" * 100)), "TooLarge"),
        (request(b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 100_000, [1000]), "InvalidRequest"),
    ],
)
def test_limits_are_kept(asked: Request, expected: str):
    assert code(asked, max_bytes=99) == expected
