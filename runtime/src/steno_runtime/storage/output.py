"""The directory that results are published to, whatever it lies on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput
from steno_runtime.errors import WorkError
from steno_runtime.storage.common import redact

CHECK_NAME = ".steno-write-check"
"""An empty object that is written and deleted at once, to know that results can be written later."""


class Output(Protocol):
    """A directory of write-once objects.

    Every method raises `WorkError`: `OutputNotFound`, `OutputForbidden`, `OutputUnavailable` or `InvalidSpec`.
    """

    @property
    def uri(self) -> str:
        """The directory, without a trailing slash."""
        ...

    def check_writable(self) -> None:
        """Finds out, before anything costly is done, whether objects can be written here."""
        ...

    def read(self, name: str) -> bytes | None:
        """Returns an object's bytes; None if there is no such object, or none that may be read."""
        ...

    def create(self, name: str, data: bytes, content_type: str) -> bool:
        """Writes an object whole, or not at all, if none of that name exists.

        Returns:
            Whether it was written: False if an object of that name exists already.
        """
        ...

    def tidy(self) -> None:
        """Removes what interrupted writers left behind; called once the results are complete. Never raises."""
        ...


def open_output(output: TaskOutput) -> Output:
    """Opens the task's output directory; touches nothing yet.

    Raises:
        WorkError: `InvalidSpec`: no results can be published to such a URI.
    """
    if output.path is not None:
        from steno_runtime.storage.volume import VolumeOutput

        return VolumeOutput(output.uri, Path(output.path))
    if output.uri.lower().startswith("s3://"):
        from steno_runtime.storage.s3 import S3Output

        return S3Output(output)
    raise WorkError(
        FailureReason.INVALID_SPEC,
        f"Results cannot be published to {redact(output.uri)}: output.uri must begin with s3:// or pvc://.",
    )
