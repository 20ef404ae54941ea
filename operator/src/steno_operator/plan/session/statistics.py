"""What a session's servers heard, all of them together: a client may come back to another one. Pure."""

from __future__ import annotations

from typing import Any

from steno_api.v1alpha1.streamsession import CarriedFigures, StreamSessionStatus
from steno_operator.plan.common.clock import whole
from steno_operator.plan.session.observed import Connection


def is_new(status: StreamSessionStatus, connection: Connection) -> bool:
    """Whether the status does not speak of this connection yet."""
    return status.connect_time != whole(connection.report.started) or status.pod_name != connection.pod


def heard(status: StreamSessionStatus, connection: Connection) -> dict[str, Any]:
    """Returns what the status says after a server's report, with all that earlier servers had told.

    Each server counts from nothing. When another connection begins (a server tells when it did), what the status says
    so far is carried over; so the sums never shrink, and the same report counts once, however often it comes.
    """
    figures, before, carried = connection.report.figures, status.figures, status.carried
    began = whole(connection.report.started)
    if before is not None and status.connect_time not in (None, began):
        carried = CarriedFigures(audio_seconds=before.audio_seconds, segments=before.segments)
    if carried is not None:
        figures = figures.model_copy(
            update={
                "audio_seconds": round(carried.audio_seconds + figures.audio_seconds, 3),
                "segments": carried.segments + figures.segments,
            }
        )
    if before is not None:  # of two connections in one second, or of a server that forgot
        figures = figures.model_copy(
            update={
                "audio_seconds": max(before.audio_seconds, figures.audio_seconds),
                "segments": max(before.segments, figures.segments),
            }
        )
    return {"figures": figures, "carried": carried, "connect_time": began}
