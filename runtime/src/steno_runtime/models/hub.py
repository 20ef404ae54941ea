"""The Hugging Face hub: models at a pinned commit, each file of which has the pinned digest; denials and outages."""

from __future__ import annotations

import functools
import hashlib
import logging
from http import HTTPStatus
from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models.pins import PINS, Pin

log = logging.getLogger(__name__)


def download_pinned(repo: str, *, token: str | None = None) -> Path:
    """Return the directory of a model that `PINS` has, downloading what is not in the cache yet.

    Args:
        repo: its name on the hub.
        token: sent to the hub; None: `HF_TOKEN`, if there is one.

    Raises:
        WorkError: `ModelUnavailable`: a file is not the pinned one; nothing of the model is used.
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import errors, snapshot_download

    pin = PINS[repo]
    names = sorted(pin.files)
    folder = Path()
    try:
        folder = Path(snapshot_download(repo, revision=pin.revision, allow_patterns=names, local_files_only=True))
        complete = all((folder / name).is_file() for name in names)
    except (errors.LocalEntryNotFoundError, OSError):
        complete = False
    if not complete:
        folder = Path(snapshot_download(repo, revision=pin.revision, allow_patterns=names, token=token))
    verify(folder, repo, pin)
    return folder


def verify(folder: Path, repo: str, pin: Pin) -> None:
    """Check the files of a model; one that is not the pinned one is deleted.

    Args:
        folder: the files.
        repo: the model's name on the hub, for the error.
        pin: what they have to be.

    Raises:
        WorkError: `ModelUnavailable`.
    """
    for name, expected in pin.files.items():
        path = folder / name
        if path.is_file() and file_digest(path.resolve()) == expected:
            continue
        if path.is_file():
            log.error("a model's file is not the pinned one", extra={"model": repo, "file": name})
            path.resolve().unlink()  # for it to be downloaded anew
            file_digest.cache_clear()
        raise WorkError(
            FailureReason.MODEL_UNAVAILABLE,
            f"{name} of {repo}, as the Hugging Face hub (or the mirror of HF_ENDPOINT) gave it, does not have the "
            "digest that this version of Steno knows. The model is not used. If the mirror is right, put the model "
            "into the model store.",
        )


@functools.cache
def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file, hexadecimal; it is read once per process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_denied(error: BaseException) -> bool:
    """Return whether the hub answered with a denial: there is no such model, or the token may not read it.

    Retrying is of no use then. The hub's client wraps such an answer in errors that also mean "not reachable", so the
    causes of the error are examined too.

    Args:
        error: what `huggingface_hub` raised.
    """
    from huggingface_hub import errors

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.RepositoryNotFoundError):  # a gated repository's error is one of them
            return True
        response = getattr(cause, "response", None)
        if getattr(response, "status_code", None) in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
