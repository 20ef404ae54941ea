"""The custom resources of `steno.dev/v1alpha1`; the committed `crds/*.yaml` are generated from these models."""

from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob

__all__ = ["RESOURCES", "RuntimeProfile", "TranscriptionJob"]

RESOURCES = (TranscriptionJob, RuntimeProfile)
"""Every kind, in the order they are documented."""
