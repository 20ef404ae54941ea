"""The kinds there are. A new kind is one more entry."""

from __future__ import annotations

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cluster import Cluster
from steno_operator.control.jobs import JobKind
from steno_operator.control.kinds import Kind
from steno_operator.control.pools import PoolKind
from steno_operator.control.sessions import SessionKind
from steno_operator.control.signing import Signer
from steno_operator.control.store import Store
from steno_operator.control.tenants import TenantKind


def kinds(cluster: Cluster, store: Store, signer: Signer) -> dict[str, Kind]:
    """Returns every kind that is reconciled, by name."""
    every: list[Kind] = [
        JobKind(TranscriptionJob, cluster, store),
        JobKind(OCRJob, cluster, store),
        PoolKind(cluster, store, signer),
        SessionKind(store, signer),
        TenantKind(store),
    ]
    return {kind.model.definition.kind: kind for kind in every}
