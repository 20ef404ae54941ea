"""Queueing time of the streaming scheduler: many paced sessions and an engine of fixed cost.

`python -m bench.scheduler [--sessions 100 500] [--seconds 10] [--batch-millis 20]`; a batch of up to 64 windows costs
the same, whatever is in it, as on a GPU that is not full. Every session requests a draft every 0.4 to 1 s, once the
previous one is there, and a final every four seconds. JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from typing import Any

import numpy as np

from runtime.tests.stream.fake_engine import FakeEngine
from steno_runtime.stream.scheduler import DecodeKind, Priority, Scheduler, Window

AUDIO = np.zeros(16_000, np.float32)
BUCKETS = (500, 1000, 1500)


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


async def session(scheduler: Scheduler, number: int, until: float, waits: dict[str, list[float]]) -> None:
    rng = random.Random(number)
    scheduler.session_opened()
    await asyncio.sleep(rng.random())
    turn = 0
    while time.monotonic() < until:
        turn += 1
        final = turn % 6 == 0
        kind, priority = (DecodeKind.FINAL, Priority.FINAL) if final else (DecodeKind.DRAFT, Priority.PARTIAL)
        begin = time.monotonic()
        window = Window(kind, f"t{number % 10}", f"s{number}", rng.choice(BUCKETS), lambda: AUDIO, "en")
        await asyncio.wrap_future(scheduler.submit(window, priority))
        taken = time.monotonic() - begin
        waits[kind.value].append(taken)
        await asyncio.sleep(max(0.0, 0.4 + 0.6 * rng.random() - taken))
    scheduler.session_closed(f"t{number % 10}", f"s{number}")


def measure(sessions: int, seconds: float, cost: float) -> dict[str, Any]:
    engine = FakeEngine(lambda _: cost, batch_size=64)
    scheduler = Scheduler(engine, max_frames=64 * 1500)
    waits: dict[str, list[float]] = {"draft": [], "final": []}

    async def run() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(session(scheduler, number, until, waits) for number in range(sessions)))

    begin, used = time.monotonic(), time.process_time()
    asyncio.run(run())
    wall, used = time.monotonic() - begin, time.process_time() - used
    figures: dict[str, Any] = {"sessions": sessions, "batch_millis": cost * 1000}
    for kind, values in waits.items():
        queued = [max(0.0, value - cost) for value in values]
        figures[kind] = {
            "windows": len(values),
            "queue_p50_millis": round(1000 * percentile(queued, 0.5), 1),
            "queue_p95_millis": round(1000 * percentile(queued, 0.95), 1),
            "queue_p95_batches": round(percentile(queued, 0.95) / cost, 2),
        }
    figures["mean_batch_rows"] = round(scheduler.mean_batch_size, 2)
    figures["engine_busy"] = round(len(engine.calls) * cost / wall, 3)
    figures["cores_used"] = round(used / wall, 3)
    scheduler.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--batch-millis", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for count in arguments.sessions:
        rounds = [measure(count, arguments.seconds, arguments.batch_millis / 1000) for _ in range(arguments.rounds)]
        middle = statistics.median([one["draft"]["queue_p95_millis"] for one in rounds])
        print(json.dumps({"sessions": count, "median_draft_queue_p95_millis": middle, "rounds": rounds}))


if __name__ == "__main__":
    main()
