"""Resources in words: pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.cells import cell_len

from steno_client.resource import Followed

_RUNNING = ("Running", "Active", "Ready")


def duration(seconds: float) -> str:
    """Returns a time span as kubectl writes ages: `12s`, `4m`, `3h`, `2d`."""
    whole = max(0, int(seconds))
    for unit, of, least in (("d", 86400, 48 * 3600), ("h", 3600, 7200), ("m", 60, 120)):
        if whole >= least:
            return f"{whole // of}{unit}"
    return f"{whole}s"


def clock(seconds: float) -> str:
    """Returns a time to go as `1:02:03` or `2:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """Returns a number of bytes as people write it."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def plain(text: str) -> str:
    """Returns text without characters that move a terminal's cursor or change its colours; one line."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs"))


def percent(resource: Followed) -> str:
    """How far it is, in a few characters; empty if there is nothing to say."""
    status = resource.status
    if resource.succeeded and status.figures is None:
        return "100 %"
    if status.progress is not None and not resource.ended:
        return f"{status.progress.percent} %"
    return f"{status.figures.audio_seconds:.0f} s audio" if status.figures else ""


def why(resource: Followed) -> str:
    """Why it waits or failed, or what it does right now; empty when it is done."""
    status = resource.status
    if (failed := resource.condition("Failed")) is not None and resource.is_true("Failed"):
        return plain(f"{failed.reason}: {failed.message}")
    if resource.succeeded:
        complete = resource.condition("Complete")
        return plain(complete.reason) if complete and status.figures else ""
    if status.queue is not None:
        position = f" (position {status.queue.position})" if status.queue.position else ""
        return plain(f"{status.queue.reason}: {status.queue.message}{position}")
    if status.progress is not None and resource.phase in _RUNNING:
        return plain(
            f"{status.progress.stage}: {status.progress.message}" if status.progress.message else status.progress.stage
        )
    ready = resource.condition("Ready")
    if ready is None:
        return "the operator has not seen it yet: does it run?" if status.phase is None else ""
    return plain(f"{ready.reason}: {ready.message}" if ready.message else ready.reason)


def progress_line(resource: Followed) -> str:
    """One line about a resource that is being followed."""
    progress = resource.status.progress
    eta = progress.eta_seconds if progress and not resource.ended else None
    parts = (resource.phase, percent(resource), why(resource), f"{clock(eta)} left" if eta is not None else "")
    return "  ".join(part for part in parts if part)


def end_line(resource: Followed) -> str:
    """One line about a resource that ended."""
    if not resource.succeeded:
        return f"{resource.shown} failed: {why(resource)}"
    found = ", ".join(f"{key} {value}" for key, value in _figures(resource))
    return f"{resource.shown} succeeded" + (f": {found}" if found else "")


def _figures(resource: Followed) -> list[tuple[str, str]]:
    """The summary's or session's numbers, by their names on the wire."""
    status = resource.status
    values = dict(status.summary or (status.figures.to_wire() if status.figures else {}))
    return [(key, plain(f"{value:g}" if isinstance(value, float) else str(value))) for key, value in values.items()]


def table(resources: Sequence[Followed], now: datetime, *, namespaces: bool) -> list[str]:
    """Returns the lines of a table of resources."""
    heads = ("NAMESPACE", "NAME", "PHASE", "PROGRESS", "AGE", "WHY")
    rows: list[Sequence[str]] = [heads]
    rows += [
        (
            one.namespace,
            one.shown,
            one.phase,
            percent(one),
            duration((now - one.created).total_seconds()),
            why(one),
        )
        for one in resources
    ]
    return _aligned(rows if namespaces else [row[1:] for row in rows])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def details(resource: Followed, now: datetime) -> list[str]:
    """Returns everything worth knowing of one resource."""
    return _aligned([(label, value) for label, value in _details(resource, now) if value])


def _details(resource: Followed, now: datetime) -> Iterable[tuple[str, str]]:
    status = resource.status
    yield resource.definition.kind, f"{resource.namespace}/{resource.name}"
    yield "Age", duration((now - resource.created).total_seconds())
    yield "Phase", resource.phase
    yield "Progress", percent(resource)
    if status.progress is not None and status.progress.eta_seconds is not None and not resource.ended:
        yield "Left", clock(status.progress.eta_seconds)
    yield "Why", why(resource)
    yield "Attempt", str(status.attempt or "")
    if status.last_failure is not None:
        failure = status.last_failure
        yield "Last failure", plain(f"attempt {failure.attempt}: {failure.reason}: {failure.message}")
    yield "Pod", status.pod_name or ""
    yield "Node", status.node_name or ""
    for endpoint in status.endpoints:
        yield "Endpoint", endpoint.url
    yield from _figures(resource)
    for artifact in status.results.artifacts if status.results else ():
        yield artifact.format, f"{artifact.uri} ({size(artifact.bytes)})"
