"""Pass marks: what was measured, whether it meets its target, and the table that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LATENCY_SECONDS = 0.3
DOCUMENT_SECONDS = 2.0
STREAMS = 100
FAILURE_SHARE = 0.01
GPU_SHARE = 0.6


@dataclass(frozen=True)
class Measured:
    """What a run has found.

    Attributes:
        streams: live sessions that were open at the same time.
        partial_lags: of each partial, seconds from the end of its audio to its arrival.
        document_seconds: of each document that was answered, from the request to the answer.
        attempted: sessions and documents.
        failures: of those, why each failed.
        gpu_shares: samples of how much of the time the GPUs of this machine were busy, 0 to 1.
    """

    streams: int = 0
    partial_lags: Sequence[float] = ()
    document_seconds: Sequence[float] = ()
    attempted: int = 0
    failures: Sequence[str] = ()
    gpu_shares: Sequence[float] = ()


@dataclass(frozen=True)
class Line:
    """One target. `passed` is None if it was not measured."""

    name: str
    target: str
    found: str
    passed: bool | None


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by the nearest rank: one of the values.

    Args:
        values: at least one.
        share: 0 to 1.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def compare(measured: Measured) -> list[Line]:
    """Return every target with what was found."""
    failed = len(measured.failures) / measured.attempted if measured.attempted else None
    return [
        _seconds("lag of live text, p95", measured.partial_lags, 0.95, LATENCY_SECONDS),
        _seconds("time of a document, p99", measured.document_seconds, 0.99, DOCUMENT_SECONDS),
        Line("live sessions at a time", f"≥ {STREAMS}", str(measured.streams), measured.streams >= STREAMS)
        if measured.partial_lags or measured.streams
        else _absent("live sessions at a time", f"≥ {STREAMS}"),
        _absent("failures", f"< {FAILURE_SHARE:.0%}")
        if failed is None
        else Line(
            "failures",
            f"< {FAILURE_SHARE:.0%}",
            f"{failed:.1%} ({len(measured.failures)} of {measured.attempted})",
            failed < FAILURE_SHARE,
        ),
        _gpu(measured.gpu_shares),
    ]


def _seconds(name: str, values: Sequence[float], share: float, target: float) -> Line:
    if not values:
        return _absent(name, f"< {target:g} s")
    found = percentile(values, share)
    spread = f"min {min(values):.2f}, median {percentile(values, 0.5):.2f}, max {max(values):.2f} s"
    return Line(name, f"< {target:g} s", f"{found:.2f} s ({spread}; {len(values)})", found < target)


def _gpu(shares: Sequence[float]) -> Line:
    name, target = "GPU use, mean", f"> {GPU_SHARE:.0%}"
    if not shares:
        return _absent(name, target)
    mean = sum(shares) / len(shares)
    return Line(name, target, f"{mean:.0%} ({len(shares)} samples)", mean > GPU_SHARE)


def _absent(name: str, target: str) -> Line:
    return Line(name, target, "not measured", None)


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table in plain text."""
    words = {True: "pass", False: "FAIL", None: "-"}
    rows = [("", "target", "result", "found")]
    rows += [(each.name, each.target, words[each.passed], each.found) for each in lines]
    name, target, result = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{row[0]:{name}}  {row[1]:{target}}  {row[2]:{result}}  {row[3]}".rstrip() for row in rows)
