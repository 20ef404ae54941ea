"""Formatting: resources as the lines and tables that commands print. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.cells import cell_len

from steno_api.documents.warnings import WarningSummary
from steno_api.sizes import format_bytes
from steno_client.resource import ResourceView

_RUNNING_PHASES = ("Running", "Active", "Ready")


def format_age(seconds: float) -> str:
    """Return a time span in seconds as kubectl writes ages: `12s`, `4m`, `3h`, `2d`."""
    whole = max(0, int(seconds))
    for unit, unit_seconds, minimum in (("d", 86400, 48 * 3600), ("h", 3600, 7200), ("m", 60, 120)):
        if whole >= minimum:
            return f"{whole // unit_seconds}{unit}"
    return f"{whole}s"


def format_remaining(seconds: float) -> str:
    """Return a remaining time in seconds as `1:02:03` or `2:03`."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: they show a line in another order than it has."""


def strip_control_characters(text: str) -> str:
    """Return text as one line, without characters that command a terminal or reorder what it shows."""
    return strip_escapes(" ".join(text.split()), keep="")


def strip_escapes(text: str, *, keep: str = "\n\t\f") -> str:
    """Return text without characters that command a terminal or reorder what it shows.

    Args:
        text: as others wrote it.
        keep: control characters of plain text that stay.
    """
    return "".join(
        c for c in text if c in keep or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _BIDI_CONTROLS)
    )


def format_progress(resource: ResourceView) -> str:
    """Return the progress in a few characters: percent, or seconds of audio of a session; empty if unknown."""
    status = resource.status
    if resource.succeeded and status.stats is None:
        return "100 %"
    if status.progress is not None and not resource.finished:
        return f"{status.progress.percent} %"
    return f"{status.stats.audio_seconds:.0f} s audio" if status.stats else ""


def explain_state(resource: ResourceView) -> str:
    """Return why a resource waits or failed, or what it is doing now; empty once it has succeeded."""
    status = resource.status
    if (failed := resource.condition("Failed")) is not None and resource.is_true("Failed"):
        return strip_control_characters(f"{failed.reason}: {failed.message}")
    if resource.succeeded:
        complete = resource.condition("Complete")
        return strip_control_characters(complete.reason) if complete and status.stats else ""
    if status.queue is not None:
        position = f" (position {status.queue.position})" if status.queue.position else ""
        return strip_control_characters(f"{status.queue.reason}: {status.queue.message}{position}")
    if status.progress is not None and resource.phase in _RUNNING_PHASES:
        return strip_control_characters(
            f"{status.progress.stage}: {status.progress.message}" if status.progress.message else status.progress.stage
        )
    ready = resource.condition("Ready")
    if ready is None:
        return "the operator has not seen it yet: is the operator running?" if status.phase is None else ""
    return strip_control_characters(f"{ready.reason}: {ready.message}" if ready.message else ready.reason)


def progress_line(resource: ResourceView) -> str:
    """Return one line about a resource that has not finished."""
    progress = resource.status.progress
    eta = progress.eta_seconds if progress and not resource.finished else None
    parts = (
        resource.phase,
        format_progress(resource),
        explain_state(resource),
        f"{format_remaining(eta)} left" if eta is not None else "",
    )
    return "  ".join(part for part in parts if part)


def end_line(resource: ResourceView) -> str:
    """Return one line about a resource that has finished."""
    if not resource.succeeded:
        return f"{resource.display_name} failed: {explain_state(resource)}"
    found = ", ".join(f"{key} {value}" for key, value in _figures(resource))
    return f"{resource.display_name} succeeded" + (f": {found}" if found else "")


def format_warning(warning: WarningSummary) -> str:
    """Return one line about the warnings of one reason."""
    more = f" (and {warning.count - 1} more)" if warning.count > 1 else ""
    return strip_control_characters(f"warning: {warning.reason}: {warning.message}{more}")


def _figures(resource: ResourceView) -> list[tuple[str, str]]:
    """Return the numbers of the summary or session, by their names in the API."""
    status = resource.status
    values = dict(status.summary or (status.stats.to_wire() if status.stats else {}))
    return [
        (key, strip_control_characters(f"{value:g}" if isinstance(value, float) else str(value)))
        for key, value in values.items()
    ]


def format_table(resources: Sequence[ResourceView], now: datetime, *, namespaces: bool) -> list[str]:
    """Return the lines of a table of resources.

    Args:
        resources: one for each row, in this order.
        now: the time against which ages are measured.
        namespaces: whether to include the column of namespaces.
    """
    header = ("NAMESPACE", "NAME", "PHASE", "PROGRESS", "AGE", "WHY")
    rows: list[Sequence[str]] = [header]
    rows += [
        (
            one.namespace,
            one.display_name,
            one.phase,
            format_progress(one),
            format_age((now - one.created).total_seconds()),
            explain_state(one),
        )
        for one in resources
    ]
    return align_columns(rows if namespaces else [row[1:] for row in rows])


def align_columns(rows: Sequence[Sequence[str]], *, figures: bool = False) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: cells of each row, of the same number of columns.
        figures: whether the columns after the first are aligned to the right.
    """
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def pad(cell: str, width: int, *, right: bool) -> str:
        space = " " * (width - cell_len(cell))
        return space + cell if right else cell + space

    return [
        "  ".join(
            pad(cell, width, right=figures and at > 0) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def format_details(resource: ResourceView, now: datetime) -> list[str]:
    """Return the lines of a detailed view of one resource."""
    return align_columns([(label, value) for label, value in _details(resource, now) if value])


def _details(resource: ResourceView, now: datetime) -> Iterable[tuple[str, str]]:
    status = resource.status
    yield resource.definition.kind, f"{resource.namespace}/{resource.name}"
    yield "Age", format_age((now - resource.created).total_seconds())
    yield "Phase", resource.phase
    yield "Progress", format_progress(resource)
    if status.progress is not None and status.progress.eta_seconds is not None and not resource.finished:
        yield "Left", format_remaining(status.progress.eta_seconds)
    yield "Why", explain_state(resource)
    yield "Attempt", str(status.attempt or "")
    if status.last_failure is not None:
        failure = status.last_failure
        yield (
            "Last failure",
            strip_control_characters(f"attempt {failure.attempt}: {failure.reason}: {failure.message}"),
        )
    yield "Pod", status.pod_name or ""
    yield "Node", status.node_name or ""
    for endpoint in status.endpoints:
        yield "Endpoint", endpoint.url
    yield from _figures(resource)
    for artifact in status.results.artifacts if status.results else ():
        yield artifact.format, f"{artifact.uri} ({format_bytes(artifact.bytes)})"
