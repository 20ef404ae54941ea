"""Files that were staged for a request that comes to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.transports import intake
from steno_gateway.transports.intake import Intake
from steno_gateway.work.jobs import Upload


class Jobs:
    def __init__(self) -> None:
        self.discarded: list[Upload] = []

    async def stage(self, _: Any, place: str, filename: str, chunks: AsyncIterator[bytes]) -> Upload:
        return Upload({"uri": f"{place}/{filename}", "bytes": b"".join([chunk async for chunk in chunks])}, "digest")

    async def discard(self, upload: Upload) -> None:
        self.discarded.append(upload)


async def file() -> AsyncIterator[bytes]:
    yield b"RIFF"


@pytest.mark.parametrize("error", [ApiError(ErrorCode.INVALID_REQUEST, "no"), asyncio.CancelledError(), OSError()])
@pytest.mark.parametrize("late", [False, True])
async def test_nothing_is_left_whatever_ends_the_request(monkeypatch, error: BaseException, late: bool):
    async def read_form(_: Any, save: Any, **__: Any) -> dict[str, str]:
        await save("a.wav", file())
        if not late:
            raise error
        return {}

    monkeypatch.setattr(intake, "read_form", read_form)
    jobs: Any = Jobs()
    settings: Any = SimpleNamespace(max_upload_bytes=10)
    principal: Any = None

    async def serve() -> None:
        async with Intake(settings, jobs).received(principal, principal, "stt-x"):
            if late:
                raise error

    with pytest.raises(type(error)):
        await serve()
    assert [each.source["uri"] for each in jobs.discarded] == ["stt-x/a.wav"]
