"""Credentials from a mounted Secret: a directory with one file per key; shared by S3 and web sources."""

from __future__ import annotations

from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError


def read_credentials(directory: str | None) -> dict[str, str]:
    """Return the Secret's keys and values; empty without a directory.

    They are read at each call, since Kubernetes replaces the files when the Secret changes.

    Raises:
        WorkError: `InvalidSpec`: the directory is missing, or a value is not text.
    """
    if directory is None:
        return {}
    try:
        # Kubernetes keeps the versions of the Secret in entries whose names begin with "..".
        files = [entry for entry in sorted(Path(directory).iterdir()) if entry.is_file() and entry.name[0] != "."]
        return {file.name: file.read_text(encoding="utf-8").strip() for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"The credentials cannot be read ({type(error).__name__}). Check the Secret that secretRef names: every "
            "value must be text.",
        ) from error
