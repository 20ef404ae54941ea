"""Credentials from a mounted Secret, a directory with one file per key, and the scope in which they are sent.

Shared by S3 and web sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from steno_api.credentials import CredentialScope
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


Role = Literal["source", "output"]


def scope_of(values: Mapping[str, str], role: Role) -> CredentialScope:
    """Return where the values of a Secret may be sent.

    Raises:
        WorkError: `InvalidSpec`: the Secret does not say so in a way that can be read.
    """
    try:
        return CredentialScope.parse(values)
    except ValueError as error:
        raise WorkError(
            FailureReason.INVALID_SPEC, f"In the Secret of {role}.secretRef, {error}. Correct it."
        ) from error


def outside_scope(role: Role, where: str, why: str) -> WorkError:
    """Return the error of credentials that are not sent.

    Args:
        role: what they are for.
        where: they would have been sent, without anything secret.
        why: they are not.
    """
    reason = FailureReason.SOURCE_FORBIDDEN if role == "source" else FailureReason.OUTPUT_FORBIDDEN
    return WorkError(
        reason,
        f"The credentials in the Secret of {role}.secretRef are not sent to {where}: {why}. Use a Secret that was "
        "made for it, or have its keys allowedPrefix and allowPlainHTTP changed.",
    )
