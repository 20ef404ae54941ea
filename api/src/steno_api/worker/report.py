"""Progress report of a running worker, and where it is sent."""

from __future__ import annotations

from pydantic import Field

from steno_api.model import Model, ObjectRef
from steno_api.v1alpha1.job import Progress

REPORT_AUDIENCE = "steno-operator"
"""Audience of the projected ServiceAccount token that authenticates reports."""

REPORT_PATH = "/v1/reports"
"""Path of the operator's endpoint that workers POST `Report` to."""


class Report(Model):
    """One progress report, POSTed as JSON to the operator's `REPORT_PATH`."""

    job: ObjectRef
    attempt: int = Field(ge=1)
    progress: Progress
