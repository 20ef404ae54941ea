"""The manifest: the list of published artifacts, written last. Where it stands, the results are complete."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from steno_api.identity import JobRef
from steno_api.model import Model
from steno_api.report import AnySummary, PublishedArtifact

MANIFEST_NAME = "manifest.json"


class Manifest(Model):
    """`<output>/<namespace>/<name>/<uid>/manifest.json`."""

    schema_version: Literal["steno.dev/manifest/v1"] = "steno.dev/manifest/v1"
    job: JobRef
    attempt: int
    tenant: str
    created_at: datetime
    source_uri: str
    artifacts: list[PublishedArtifact]
    summary: AnySummary
