"""The custom resources of `steno.dev/v1alpha1`; the committed `crds/*.yaml` are generated from these models."""

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.streamsession import StreamSession
from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob

__all__ = [
    "RESOURCES",
    "OCRJob",
    "RuntimePool",
    "RuntimeProfile",
    "StreamSession",
    "Tenant",
    "TenantQuota",
    "TranscriptionJob",
]

RESOURCES = (TranscriptionJob, OCRJob, StreamSession, RuntimePool, RuntimeProfile, Tenant, TenantQuota)
"""Every kind, in the order of the documentation."""
