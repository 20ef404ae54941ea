"""Crossover measurement: the latency of live sessions in turns of quiet and attack, compared in pairs.

The machine of a test is shared, and its speed changes more from minute to minute than an attack may change latency. So
quiet and attack take turns within the same sessions, each turn is compared with its neighbour alone, and what counts is
the median of many pairs: a burst of other work spoils a pair, not the figure.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil, comb
from statistics import quantiles
from typing import Any

import jiwer

from runtime.tests.serve.conftest import TokenIssuer, WebSocketClient
from runtime.tests.serve.process import Process
from runtime.tests.stt.conftest import normal
from tests.support.properties import LONG

MAX_RATIO = 1.5
"""Of the 95th percentile beside an attack to that without."""
NOISE_SECONDS = 0.0 if LONG else 0.1
"""What of it does not count: in `make test` attacker, server and another test share two cores."""

BYTES_A_SECOND = 32_000
CHUNK_BYTES = 3_200

Event = tuple[float, float]
"""When something began (the loop's time), and the seconds that it took."""


@dataclass(frozen=True)
class Turn:
    """A time in which there was an attack, or none."""

    attacked: bool
    begin: float
    end: float

    def of(self, events: list[Event]) -> list[float]:
        """Return the seconds of the events of this turn."""
        return [seconds for begun, seconds in events if self.begin <= begun < self.end]


@dataclass
class Crossover:
    """Turns of quiet and attack.

    Attributes:
        pairs: of turns; which of the two comes first alternates.
        seconds: of a turn; an attack may take longer.
        settle: seconds at the beginning of each, in which what was said in the turn before is still decoded.
    """

    pairs: int
    seconds: float
    settle: float
    turns: list[Turn] = field(default_factory=list)

    async def run(self, attack: Callable[[float], Awaitable[None]]) -> None:
        """Take all turns; `attack` goes on for as many seconds as it is told, or a little longer."""
        clock = asyncio.get_running_loop().time
        for number in range(self.pairs):
            for attacked in (False, True) if number % 2 == 0 else (True, False):
                begin = clock()
                await (attack if attacked else asyncio.sleep)(self.seconds)
                self.turns.append(Turn(attacked, begin + self.settle, clock()))

    def check(self, events: list[Event], figure: Callable[[list[float]], float]) -> None:
        """Fail if the median ratio of a figure in attacked turns to that in quiet ones is too much, by a sign test.

        Where nothing else disturbs the machine, that is the median itself; where much does, ratios lie far apart, and
        the figure has to be above the limit in nearly all pairs.

        Args:
            events: what was measured.
            figure: of the seconds of a turn.
        """
        ratios: list[float] = []
        for pair in zip(self.turns[::2], self.turns[1::2], strict=True):
            quiet, attacked = (figure(turn.of(events)) for turn in sorted(pair, key=lambda turn: turn.attacked))
            ratios.append(max(0.0, attacked - NOISE_SECONDS) / quiet)
        ratios.sort()
        counts = [len(turn.of(events)) for turn in self.turns]
        print(f"ratios {' '.join(f'{each:.2f}' for each in ratios)}; {min(counts)} to {max(counts)} events a turn")
        assert ratios[lower_rank(len(ratios))] <= MAX_RATIO


def lower_rank(count: int) -> int:
    """Return which of so many sorted values, counted from 0, the median is above with a probability of 99 %."""
    tail = 0.0
    for rank in range(count):
        tail += comb(count, rank) / 2**count
        if tail > 0.01:
            return rank
    raise AssertionError


def p95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1]


@dataclass
class Spoken:
    """What came of a live session."""

    texts: list[str] = field(default_factory=list)
    latencies: list[Event] = field(default_factory=list)
    """Of partials and finals: when the client had spoken what they hold, and the seconds since then."""
    audio_seconds: float = 0.0


async def speak(server: Process, token: str, pcm: bytes, until: asyncio.Event) -> Spoken:
    """Speak in real time, a recording again and again.

    Args:
        server: to speak to.
        token: of the session.
        pcm: what to say.
        until: after which it is not begun again.
    """
    spoken, clock = Spoken(), asyncio.get_running_loop().time
    sent = 0
    async with server.connect(token) as socket:
        await WebSocketClient(socket).start()
        begun = clock()

        async def listen() -> None:
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                if message["type"] in ("partial", "final"):
                    said = begun + message["end_ms"] / 1000
                    spoken.latencies.append((said, clock() - said))
                if message["type"] == "final":
                    spoken.texts.append(message["text"])
                if message["type"] == "session_ended":
                    assert message["reason"] == "ClientEnded"
                    spoken.audio_seconds = message["stats"]["audio_seconds"]

        listening = asyncio.create_task(listen())
        while not until.is_set():
            await asyncio.sleep(max(0.0, begun + sent / BYTES_A_SECOND - clock()))
            at = sent % (len(pcm) - CHUNK_BYTES)
            await socket.send(pcm[at : at + CHUNK_BYTES])
            sent += CHUNK_BYTES
        await socket.send('{"type": "end_session"}')
        await listening
    assert abs(spoken.audio_seconds - sent / BYTES_A_SECOND) < 0.1
    return spoken


@dataclass
class Stage:
    """A server, and sessions that are held with it.

    Attributes:
        server: the process.
        issuer: of its tokens.
        crossover: the turns that an attack takes beside the sessions.
        sessions: at a time.
        pcm: what each says, again and again.
        words: what is recognized in it.
        max_error: share of words that may be wrong.
    """

    server: Process
    issuer: TokenIssuer
    crossover: Crossover
    sessions: int
    pcm: bytes
    words: str
    max_error: float

    async def converse(self, beside: Awaitable[None]) -> list[Event]:
        """Hold sessions for as long as something beside them takes; return their latencies. They must lose nothing."""
        over = asyncio.Event()
        tokens = [self.issuer.token(language="en") for _ in range(self.sessions)]
        speaking = [asyncio.create_task(speak(self.server, token, self.pcm, over)) for token in tokens]
        try:
            await beside
        finally:
            over.set()
        spoken = await asyncio.gather(*speaking)
        for one in spoken:
            times = one.audio_seconds * BYTES_A_SECOND / len(self.pcm)
            words = normal(self.words).split()
            said = " ".join((words * ceil(times))[: round(len(words) * times)])
            assert jiwer.wer(said, normal(" ".join(one.texts))) <= self.max_error
        return [event for one in spoken for event in one.latencies]
