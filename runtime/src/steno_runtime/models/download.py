"""Downloads into a model store, like `huggingface-cli download --local-dir`, of models whose digests are known.

What is there stays, and what was broken off goes on where it ended: a model appears in the store once every file of it
has its digest. `SHA256SUMS` beside the files says the same to whatever loads it later.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models import hub
from steno_runtime.models.pins import COMMUNITY, PINS, SIZES, Pin
from steno_runtime.models.store import SUMS

REPOS: dict[str, str] = {**SIZES, "community-1": COMMUNITY}
"""Models that can be downloaded: names in the store, and on the hub."""


def download(store: Path, name: str, *, token: str | None = None) -> Path:
    """Return a model's directory in the store, downloading what is missing; the hub's client shows its progress.

    Args:
        store: the model store, which is created if it is not there.
        name: one of `REPOS`; `whisper-base` is the same as `base`.
        token: sent to the hub; None: `HF_TOKEN`, if there is one.

    Raises:
        WorkError: `ModelNotFound`: there is no such model, or the token may not read it; `ModelUnavailable`: the hub
            cannot be reached, or a file is not the pinned one; `OutputForbidden`: the store cannot be written.
    """
    name = name.removeprefix("whisper-")
    if name not in REPOS:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"{name} is not a model whose digests this version of Steno knows: {', '.join(REPOS)}. Others are put into "
            "the store by hand, a directory each.",
        )
    repo, target = REPOS[name], store / name
    pin = PINS[repo]
    if is_whole(target, pin):
        return target
    try:
        return _download(repo, pin, target, token)
    except OSError as error:
        if error.filename is None:  # not the disk's: the client's errors of HTTP are OSErrors, too
            raise _unavailable(repo, error) from error
        message = f"{error.filename} cannot be written: {error.strerror}. Make the model store writable."
        raise WorkError(FailureReason.OUTPUT_FORBIDDEN, message) from error


def is_whole(folder: Path, pin: Pin) -> bool:
    """Return whether a directory has every file of a model, as pinned."""
    return all(
        (folder / file).is_file() and hub.file_digest(folder / file) == digest for file, digest in pin.files.items()
    )


def _download(repo: str, pin: Pin, target: Path, token: str | None) -> Path:
    from huggingface_hub import snapshot_download

    draft = target.with_name(f".{target.name}.download")  # a hidden folder is a draft to the store
    draft.mkdir(parents=True, exist_ok=True)
    hub.file_digest.cache_clear()
    try:
        snapshot_download(
            repo, revision=pin.revision, allow_patterns=sorted(pin.files), local_dir=draft, token=token, max_workers=1
        )
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        if hub.is_denied(error):
            message = (
                f"The Hugging Face hub does not give {repo}. Accept its licence at https://huggingface.co/{repo}, and "
                "set HF_TOKEN to a token of that account."
            )
            raise WorkError(FailureReason.MODEL_NOT_FOUND, message) from error
        raise _unavailable(repo, error) from error
    hub.verify(draft, repo, pin)
    (draft / SUMS).write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(pin.files.items())))
    shutil.rmtree(draft / ".cache", ignore_errors=True)  # the client's notes on what it has downloaded
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _unavailable(repo: str, error: Exception) -> WorkError:
    message = (
        f"{repo} could not be downloaded from the Hugging Face hub ({type(error).__name__}). Run it again: it goes on "
        "where it ended. HF_ENDPOINT can name a mirror."
    )
    return WorkError(FailureReason.MODEL_UNAVAILABLE, message)
