"""Latency and cost of live sessions in this process, paced in real time.

`python -m bench.streams [--sessions 1 2 4 8] [--rounds 3] [--seconds 24]`. Word lag is the time a word is first shown,
in a partial or final text, minus the time it was spoken (its end, by the final's own word times). Nothing else should
run on the machine. JSON on stdout: min, median and max over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from bench.stt_batch import sample
from hack.models import build
from steno_runtime.cores import available_cores, use_passive_waits
from steno_runtime.stream.agreement import normalize
from steno_runtime.stream.engine import StreamEngine
from steno_runtime.stream.events import Event, Final, Partial
from steno_runtime.stream.session import SessionConfig
from steno_runtime.stt.options import TranscriptionOptions

RATE = 16_000
CHUNK_SECONDS = 0.1


@dataclass
class ClientRecord:
    """The events of a client, each with its time in seconds since the client started."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    final_millis: int | None = None
    nbytes: int = 0


def percentile(values: list[float], part: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3) if ordered else None


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def client(engine: StreamEngine, number: int, pcm: bytes, begin: float) -> ClientRecord:
    session, record = engine.open(SessionConfig(f"s{number}", f"t{number}")), ClientRecord()
    await asyncio.sleep(begin)
    start = time.monotonic()

    async def read() -> None:
        async for event in session.events():
            record.events.append((time.monotonic() - start, event))

    reader = asyncio.create_task(read())
    size = int(2 * RATE * CHUNK_SECONDS)
    for index, at in enumerate(range(0, len(pcm), size)):
        await asyncio.sleep(max(0.0, start + (index + 1) * CHUNK_SECONDS - time.monotonic()))
        await session.feed(pcm[at : at + size])
        record.nbytes = max(record.nbytes, session.nbytes)
    await session.finish()
    await reader
    record.final_millis = session.stats.final_latency_millis
    return record


def lags(record: ClientRecord) -> list[float]:
    """Return the lag of each word of a final: when an event first showed it, minus when it was spoken, in seconds."""
    found: list[float] = []
    for _, final in record.events:
        if not isinstance(final, Final):
            continue
        words = [normalize(word.word) for word in final.words]
        shown: dict[int, float] = {}
        for when, event in record.events:
            if isinstance(event, Partial | Final) and event.utterance == final.utterance:
                said = [normalize(word) for word in event.text.split()]
                for block in SequenceMatcher(None, words, said, autojunk=False).get_matching_blocks():
                    for index in range(block.a, block.a + block.size):
                        shown.setdefault(index, when)
        found.extend(when - final.words[index].end_ms / 1000 for index, when in shown.items())
    return found


def measure(engine: StreamEngine, count: int, pcm: bytes) -> dict[str, Any]:
    before, decoded, used = resident(), sum(engine.status().decodes.values()), time.process_time()
    begin = time.monotonic()
    peak = before

    async def run() -> list[ClientRecord]:
        nonlocal peak
        clients = [asyncio.create_task(client(engine, number, pcm, 0.73 * number)) for number in range(count)]
        while any(not one.done() for one in clients):
            peak = max(peak, resident())
            await asyncio.wait(clients, timeout=0.5)
        return [one.result() for one in clients]

    records = asyncio.run(run())
    words = [lag for record in records for lag in lags(record)]
    seconds = count * len(pcm) / 2 / RATE
    return {
        "word_lag_p50": percentile(words, 0.5),
        "word_lag_p95": percentile(words, 0.95),
        "final_latency_p95": round(max(record.final_millis or 0 for record in records) / 1000, 3),
        "words": len(words),
        "decodes_per_audio_second": round((sum(engine.status().decodes.values()) - decoded) / seconds, 3),
        "cores_used": round((time.process_time() - used) / (time.monotonic() - begin), 2),
        "buffer_kib_per_session": max(record.nbytes for record in records) // 1024,
        "resident_mib_grown_per_session": round((peak - before) / count / 2**20, 1),
        "same_finals": len({tuple(e.text for _, e in record.events if isinstance(e, Final)) for record in records})
        == 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=24, help="seconds of the end of the sample, which has speech")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    use_passive_waits()
    audio, _ = sample()
    pcm = (np.asarray(audio[-int(arguments.seconds * RATE) :]) * 32767).astype("<i2").tobytes()
    engine = StreamEngine.load(
        TranscriptionOptions(model="whisper-base", model_store=build(), device=arguments.device),
        max_sessions=max(arguments.sessions),
    )
    engine.warm()
    print(json.dumps({"cores": available_cores(), "resident_mib_warm": resident() // 2**20}), flush=True)
    rounds: dict[int, list[dict[str, Any]]] = {count: [] for count in arguments.sessions}
    for _ in range(arguments.rounds):
        for count in arguments.sessions:
            rounds[count].append(measure(engine, count, pcm))
    for count, measured in rounds.items():
        summary: dict[str, Any] = {"sessions": count}
        for key in measured[0]:
            values = [one[key] for one in measured if one[key] is not None]
            summary[key] = [min(values), statistics.median(values), max(values)] if values else None
        print(json.dumps(summary), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
