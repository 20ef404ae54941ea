"""Session client in this process: sends audio, collects events, checks what every session must keep to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from steno_runtime.stream.events import Event, Final, Partial
from steno_runtime.stream.session import Session


def split(pcm: bytes, size: int) -> Iterable[bytes]:
    return (pcm[at : at + size] for at in range(0, len(pcm), size))


async def run_session(session: Session, chunks: Iterable[bytes]) -> list[Event]:
    """Send audio as fast as it is taken; return every event."""
    received: list[Event] = []

    async def read() -> None:
        received.extend([event async for event in session.events()])

    reader = asyncio.create_task(read())
    for chunk in chunks:
        await session.feed(chunk)
    await session.finish()
    await reader
    return received


def finals(events: Iterable[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def check_invariants(events: Iterable[Event]) -> None:
    """Check that numbers have no gaps, and that stable text only grows and begins every later text of its utterance."""
    stable: dict[int, str] = {}
    done: set[int] = set()
    seq = 0
    for event in events:
        if not isinstance(event, Partial | Final):
            continue
        seq += 1
        assert event.seq == seq
        assert event.utterance not in done
        assert event.text.startswith(stable.get(event.utterance, ""))
        if isinstance(event, Final):
            done.add(event.utterance)
            assert event.text
            assert [word.start_ms for word in event.words] == sorted(word.start_ms for word in event.words)
            assert all(word.start_ms <= word.end_ms for word in event.words)
        else:
            assert event.text.startswith(event.stable_text)
            assert event.stable_text.startswith(stable.get(event.utterance, ""))
            stable[event.utterance] = event.stable_text
