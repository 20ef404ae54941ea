"""Factory of output directories, by scheme.

Separate because the interface must not import what implements it.
"""

from __future__ import annotations

from pathlib import Path

from steno_api.failures import FailureReason
from steno_api.worker.task import EgressRules, TaskOutput
from steno_runtime.errors import WorkError
from steno_runtime.storage.common import redact
from steno_runtime.storage.output import OutputDirectory


def open_output(output: TaskOutput, egress: EgressRules | None = None) -> OutputDirectory:
    """Return the task's output directory, on a network that `egress` permits; nothing is read or written yet.

    Raises:
        WorkError: `InvalidSpec`: results cannot be published to such a URI.
    """
    if output.path is not None:
        from steno_runtime.storage.volume import VolumeOutput

        return VolumeOutput(output.uri, Path(output.path))
    if output.uri.lower().startswith("s3://"):
        from steno_runtime.storage.s3 import S3Output

        return S3Output(output, egress or EgressRules())
    raise WorkError(
        FailureReason.INVALID_SPEC,
        f"Results cannot be published to {redact(output.uri)}: output.uri must begin with s3:// or pvc://.",
    )
