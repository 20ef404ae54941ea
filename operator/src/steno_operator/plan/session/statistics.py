"""Session statistics, summed over all servers of a session: a client may reconnect to another one.

Separate because sums that must never shrink are proved on their own.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from steno_api.v1alpha1.streamsession import PreviousServers, SessionStats, StreamSessionStatus
from steno_operator.plan.common.clock import truncate_to_seconds
from steno_operator.plan.session.observed import Connection


class StatsUpdate(TypedDict):
    """Fields of a session's status that a server's report sets."""

    stats: SessionStats
    previous_servers: PreviousServers | None
    connect_time: datetime


def is_new(status: StreamSessionStatus, connection: Connection) -> bool:
    """Tell whether the status does not have this connection yet."""
    started = truncate_to_seconds(connection.report.started)
    return status.connect_time != started or status.pod_name != connection.pod


def add_session_stats(status: StreamSessionStatus, connection: Connection) -> StatsUpdate:
    """Return the statistics after a server's report, with all that earlier servers had reported.

    Each server counts from zero. When another connection begins (a server reports when it did), the statistics of the
    status are carried over; so the sums never shrink, and the same report counts once, however often it comes.
    """
    stats, before, carried = connection.report.stats, status.stats, status.previous_servers
    started = truncate_to_seconds(connection.report.started)
    if before is not None and status.connect_time not in (None, started):
        carried = PreviousServers(audio_seconds=before.audio_seconds, segments=before.segments)
    if carried is not None:
        stats = stats.model_copy(
            update={
                "audio_seconds": round(carried.audio_seconds + stats.audio_seconds, 3),
                "segments": carried.segments + stats.segments,
            }
        )
    if before is not None:  # of two connections in one second, or of a server that forgot
        stats = stats.model_copy(
            update={
                "audio_seconds": max(before.audio_seconds, stats.audio_seconds),
                "segments": max(before.segments, stats.segments),
            }
        )
    return StatsUpdate(stats=stats, previous_servers=carried, connect_time=started)
