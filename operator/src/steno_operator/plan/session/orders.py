"""Answers to a server's report of a session: go on, end it, or the report of its end is on record.

An end is acknowledged once it is in the session's status, and repeated by the server until then: so no end is lost,
whatever happens to the operator in between. Nor is a transcript that is published after the operator gave the server
up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.streamsession import StreamSessionSpec

_DEFAULT_MAX_SECONDS = StreamSessionSpec().max_duration_seconds


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """What to do with a server's report of one session."""

    keep: bool = False
    """The report tells the session's plan something."""
    end: SessionEnd | None = None
    """Why the server is to end the session."""
    acknowledge: bool = False
    """The server need not repeat how the session ended."""


def answer_report(session: Mapping[str, Any] | None, report: SessionReport, now: datetime) -> ReportAnswer:
    """Return the answer to a server's report.

    Args:
        session: the raw StreamSession; None when there is none of that UID, or it is another pool's.
        report: what the server says.
        now: the present.
    """
    end, is_duplicate = _end_of(session), _is_duplicate(report)
    if session is not None and end is None and not is_duplicate:
        over_time = report.result is None and _is_over_time(session, now)
        return ReportAnswer(keep=True, end=SessionEnd.MAX_DURATION if over_time else None)
    if session is not None and _is_late_transcript(session, report):
        return ReportAnswer(keep=True)
    if report.result is not None:
        return ReportAnswer(acknowledge=True)
    return ReportAnswer(end=end or SessionEnd.DUPLICATE)


def _end_of(session: Mapping[str, Any] | None) -> SessionEnd | None:
    """Return why a session is to end, or ended; None while it is to go on."""
    if session is None or "deletionTimestamp" in session["metadata"]:
        return SessionEnd.DELETED
    status: Mapping[str, Any] = session.get("status") or {}
    if not status.get("completionTime"):
        return None
    conditions: Sequence[Mapping[str, str]] = status["conditions"]
    reason = next((each.get("reason", "") for each in conditions if each["type"] == ConditionType.COMPLETE), "")
    return SessionEnd(reason) if reason in set(SessionEnd) else SessionEnd.DELETED


def _is_over_time(session: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a session lasts too long since its first client came; its server knows of its own client only."""
    status: Mapping[str, Any] = session.get("status") or {}
    spec: Mapping[str, Any] = session.get("spec") or {}
    started: str | None = status.get("startTime")
    longest: int = spec.get("maxDurationSeconds", _DEFAULT_MAX_SECONDS)
    return bool(started) and now >= datetime.fromisoformat(started) + timedelta(seconds=longest)


def _is_late_transcript(session: Mapping[str, Any], report: SessionReport) -> bool:
    """Tell whether a server published a transcript that the status of the ended session does not have."""
    status: Mapping[str, Any] = session.get("status") or {}
    result = report.result
    return (
        "deletionTimestamp" not in session["metadata"]
        and not status.get("results")
        and result is not None
        and result.manifest is not None
        and result.reason is not SessionEnd.DUPLICATE
    )


def _is_duplicate(report: SessionReport) -> bool:
    return report.result is not None and report.result.reason is SessionEnd.DUPLICATE
