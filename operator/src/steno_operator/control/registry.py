"""The kinds there are. A new kind is one more entry."""

from __future__ import annotations

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cluster import Cluster
from steno_operator.control.jobs import JobKind
from steno_operator.control.kinds import Kind
from steno_operator.control.store import Store
from steno_operator.control.tenants import TenantKind


def kinds(cluster: Cluster, store: Store) -> dict[str, Kind]:
    """Returns every kind that is reconciled, by name."""
    found: list[Kind] = [JobKind(model, cluster, store) for model in (TranscriptionJob, OCRJob)]
    return {kind.model.definition.kind: kind for kind in (*found, TenantKind(store))}
