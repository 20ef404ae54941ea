"""Model store: models by name, from its directories, else from the Hugging Face hub.

A model that the store has is never downloaded. What is downloaded is pinned, unless the administrator allows any.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from steno_api.failures import FailureReason
from steno_api.v1alpha1.runtimeprofile import HubDownloads
from steno_runtime.errors import WorkError
from steno_runtime.models import hub
from steno_runtime.models.pins import PINS, SIZES

SUMS = "SHA256SUMS"
WHISPER_FILES = ("config.json", "model.bin", "tokenizer.json")
"""Files that every CTranslate2 Whisper directory has."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_HUB_NAME = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_LISTED = 12


ANY: Mapping[str, str] = MappingProxyType({})
"""No digests: whatever the store has is believed."""


def find(store: Path, name: str, files: tuple[str, ...], digests: Mapping[str, str] = ANY) -> Path | None:
    """Find a model in the store and check it.

    Args:
        store: directory with one directory per model.
        name: the model's name, which is its directory's.
        files: files that make it that model.
        digests: SHA-256 of the `SHA256SUMS` of each model that is believed, by name. If there are any, a model needs
            one, and files that its `SHA256SUMS` does not name are refused as well.

    Returns:
        The model's directory, or None when the store has no directory of that name.

    Raises:
        WorkError: `ModelNotFound` when the directory lacks a file; `ModelUnavailable` when a file does
            not match `SHA256SUMS` beside it (half copied, or damaged), or cannot be read; `ModelMismatch` when it is
            not the model that `digests` name.
    """
    try:
        return _find(store, name, files, digests)
    except OSError as err:
        if err.errno == errno.ENAMETOOLONG:
            return None
        raise WorkError(
            FailureReason.MODEL_UNAVAILABLE,
            f"Model {name!r} in the store {store} cannot be read: {err.strerror}. Make it readable to the worker (user "
            "65532, group 65532) or to all.",
        ) from err


def _find(store: Path, name: str, files: tuple[str, ...], digests: Mapping[str, str]) -> Path | None:
    if not _NAME.fullmatch(name) or not (folder := store / name).is_dir():
        return None
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"Model {name!r}: {folder} has no {', '.join(missing)}. Copy the whole model there.",
        )
    if digests:
        _verify_pinned(folder, name, digests.get(name))
    else:
        _verify(folder)
    return folder


def whisper(store: Path, name: str, downloads: HubDownloads = "Pinned", digests: Mapping[str, str] = ANY) -> Path:
    """Return the directory of a CTranslate2 Whisper model, downloading it if the store does not have it.

    Args:
        store: the model store.
        name: a directory of the store; a Whisper size (`large-v3`; `whisper-large-v3` is the same), a Hugging Face
            name of a CTranslate2 model, or an absolute path of such a directory.
        downloads: what may be downloaded: only models whose digests are known here, any, or nothing.
        digests: see `find`.

    Raises:
        WorkError: `ModelNotFound` when neither has it, or it may not be downloaded; `ModelUnavailable` when the hub
            cannot be reached, sends other bytes than the pinned ones, or the store's copy is damaged; `ModelMismatch`
            as `find`.
    """
    if name.startswith("/"):
        given = Path(name)
        found = find(given.parent, given.name, WHISPER_FILES, digests)
        if found is None:
            raise WorkError(FailureReason.MODEL_NOT_FOUND, f"There is no model directory {name}.")
        return found
    size = name.removeprefix("whisper-")
    for candidate in (name, size, f"whisper-{size}"):
        if (found := find(store, candidate, WHISPER_FILES, digests)) is not None:
            return found
    return _download(store, name, size, downloads)


def not_in_store(store: Path, name: str) -> str:
    """Return a sentence for people: the store does not have a model, and what it has instead."""
    try:
        # A Hugging Face name has two levels; hidden folders are drafts.
        names = sorted(path.name for path in store.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return f"There is no readable model store at {store}, hence no model {name!r}."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"The model store {store} has no {name!r}; it has {', '.join(names[:_LISTED]) or 'nothing'}{more}."


@functools.cache
def _verify(folder: Path) -> None:
    """Compare a model's files with its `SHA256SUMS`, once per process; without that file, nothing is checked."""
    sums = folder / SUMS
    if not sums.is_file():
        return
    for name, digest in _read_sums(sums.read_text()).items():
        path = folder / name
        if not path.is_file() or _digest(path) != digest:
            raise WorkError(
                FailureReason.MODEL_UNAVAILABLE,
                f"{path} is not the file that {sums} names: the copy is incomplete or damaged. Copy the model again.",
            )


def _read_sums(text: str) -> dict[str, str]:
    """Return the digests of a `SHA256SUMS`, by the paths of the files."""
    lines = (line.partition(" ") for line in text.splitlines() if line.strip())
    return {str(PurePosixPath(name.lstrip(" *"))): digest.lower() for digest, _, name in lines}


def _verify_pinned(folder: Path, name: str, digest: str | None) -> None:
    """Check a model against the digest of its `SHA256SUMS`; files are read anew once they changed.

    Args:
        folder: the model.
        name: its name in the store.
        digest: what it has to be; None: the profile does not name it.

    Raises:
        WorkError: `ModelMismatch`.
    """
    what = f"Model {name!r} of the store is not used"
    if digest is None:
        raise _mismatch(f"{what}: the RuntimeProfile's modelStore.digests does not name it. Add its digest there.")
    # Hidden files, such as notes of the hub's client, are nothing that is loaded.
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir() and not _is_hidden(path, folder))
    stamps = tuple((path, (at := path.stat()).st_ino, at.st_size, at.st_ctime_ns) for path in paths)
    wrong = _differs(folder, digest, stamps)
    if wrong:
        raise _mismatch(f"{what}: {wrong}. Restore the model, or correct the RuntimeProfile's modelStore.digests.")


@functools.lru_cache(maxsize=64)
def _differs(folder: Path, digest: str, stamps: tuple[tuple[Path, int, int, int], ...]) -> str:
    """Return in what a model is not the one with a digest; empty: it is.

    Args:
        folder: the model.
        digest: of its `SHA256SUMS`.
        stamps: its files; other ones, or changed ones, are looked at again.
    """
    sums = folder / SUMS
    data = sums.read_bytes() if sums.is_file() else b""
    if hashlib.sha256(data).hexdigest() != digest:
        return f"its {SUMS} is another one" if data else f"it has no {SUMS}"
    listed = _read_sums(data.decode())
    present = {str(path.relative_to(folder)): path for path, *_ in stamps if path != sums}
    if odd := sorted(present.keys() ^ listed.keys()):
        return f"{odd[0]} is there and not in {SUMS}" if odd[0] in present else f"{odd[0]} is not there"
    changed = (name for name, path in present.items() if _digest(path) != listed[name])
    return next((f"{name} is not the file that {SUMS} names" for name in changed), "")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _mismatch(message: str) -> WorkError:
    return WorkError(FailureReason.MODEL_MISMATCH, message)


def _unknown_model(store: Path, name: str) -> WorkError:
    from faster_whisper.utils import available_models

    return WorkError(
        FailureReason.MODEL_NOT_FOUND,
        f"{not_in_store(store, name)} Nor is it a Whisper size ({', '.join(available_models())}) or a Hugging Face "
        "name (owner/model). Correct spec.model.name, or put the model into the store.",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hub_name(store: Path, name: str, size: str, downloads: HubDownloads) -> str:
    """Return the name under which the hub has a model that may be downloaded."""
    from faster_whisper.utils import available_models

    hub_name = SIZES.get(size, name)
    if hub_name not in PINS and not _HUB_NAME.fullmatch(name):
        if size not in available_models():
            raise _unknown_model(store, name)
        hub_name = size
    if downloads == "Off" or (downloads == "Pinned" and hub_name not in PINS):
        what = "Nothing may be" if downloads == "Off" else "Only models whose digests this version of Steno knows are"
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"{not_in_store(store, name)} {what} downloaded from the Hugging Face hub ({', '.join(SIZES)}). Put the "
            "model into the store, or have the RuntimeProfile's hub.downloads set to Any.",
        )
    return hub_name


def _download(store: Path, name: str, size: str, downloads: HubDownloads) -> Path:
    from huggingface_hub import errors

    hub_name = _hub_name(store, name, size, downloads)
    try:
        if hub_name in PINS:
            return hub.download_pinned(hub_name)
        folder = _download_any(hub_name)
    except WorkError:
        raise
    except errors.HFValidationError as err:  # the hub's rules for names are stricter than ours
        raise _unknown_model(store, name) from err
    except Exception as err:  # the hub's client raises anything that its HTTP client and the disk do
        if hub.is_denied(err):
            raise WorkError(
                FailureReason.MODEL_NOT_FOUND,
                f"{not_in_store(store, name)} The Hugging Face hub has no public model {hub_name!r} either "
                f"({type(err).__name__}). Correct spec.model.name, put the model into the store, or have the "
                "RuntimeProfile's hub.tokenSecretRef name a Secret with an HF_TOKEN that may read it.",
            ) from err
        raise WorkError(
            FailureReason.MODEL_UNAVAILABLE,
            f"{not_in_store(store, name)} Downloading {hub_name!r} from the Hugging Face hub failed "
            f"({type(err).__name__}). Put the model into the store, or give the pod network access to the hub.",
        ) from err
    if missing := [file for file in WHISPER_FILES if not (folder / file).is_file()]:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"{hub_name!r} on the Hugging Face hub is not a CTranslate2 Whisper model: it has no {', '.join(missing)}. "
            "Convert it with ct2-transformers-converter.",
        )
    return folder


def _download_any(hub_name: str) -> Path:
    """Return a model of the hub as it is now, or as it was when it came into the cache."""
    from faster_whisper.utils import download_model
    from huggingface_hub import errors

    try:
        folder = Path(download_model(hub_name, local_files_only=True))
        if all((folder / file).is_file() for file in WHISPER_FILES):
            return folder  # from an earlier run; the hub is not asked
    except (errors.LocalEntryNotFoundError, OSError):
        pass
    return Path(download_model(hub_name))
