"""Evaluation manifests: JSON Lines, one recording or page a line, with what is said or printed in it.

Paths are relative to the manifest. Fields that are not known are ignored, and so are drafts (`text_draft`): only
references are scored. What an item's file holds is not looked at here: an item that cannot be read fails alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from steno_client.errors import EXIT_INPUT, CommandError
from steno_client.evaluation.normalise import primary_language
from steno_client.evaluation.speakers import SpeakerSpan, parse_rttm

MANIFEST_NAMES = ("speech.jsonl", "documents.jsonl")
"""Manifests of a corpus folder."""
DOCUMENT_SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
MAX_ERRORS = 5
NO_KIND = "other"

Name = Annotated[str, Field(min_length=1, max_length=255)]
FileName = Annotated[str, Field(min_length=1, max_length=4096)]
Half = Literal["even", "odd"]


class Medium(StrEnum):
    """What an item is."""

    RECORDING = "recording"
    DOCUMENT = "document"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class WordTime(_Line):
    """A word of the reference, or of a result, and its time in seconds."""

    word: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)


class Turn(_Line):
    """What one speaker says; a diarization reference if it has `start` and `duration`, in seconds."""

    speaker: str
    start: float | None = Field(None, ge=0)
    duration: float | None = Field(None, ge=0)
    text: str | None = None


class ManifestLine(_Line):
    """One line of a manifest."""

    id: Annotated[Name, Field(pattern=r"^[^/\\\x00]+$")]
    """Unique in the manifest."""
    path: FileName
    """The recording or document."""
    medium: Medium | None = None
    """`recording` or `document`; by default from the file's extension."""
    languages: tuple[Name, ...] = Field((), validation_alias=AliasChoices("languages", "language"))
    """BCP 47 tags, the main one first; empty: not known, or no speech."""
    kind: Name | None = None
    """What it is, such as `telephone` or `scan, skewed`; results are grouped by the part before the first comma."""
    condition: Name | None = None
    """What was done to it, such as `noise 10 dB`."""
    text: str | None = None
    """The reference; empty: nothing is said or printed."""
    text_path: FileName | None = None
    """File with the reference, in UTF-8."""
    keywords: tuple[Name, ...] = ()
    """Phrases that must be found."""
    rttm: FileName | None = None
    """File with who speaks when."""
    turns: tuple[Turn, ...] = ()
    words: tuple[WordTime, ...] = ()
    """When each word is said."""
    tables: FileName | None = None
    """File with the tables of a page."""
    password: str | None = Field(None, repr=False)
    """Opens an encrypted PDF."""
    duration_seconds: float | None = Field(None, ge=0)
    pages: int | None = Field(None, ge=0)

    @field_validator("languages", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Accept a tag, `ko,en`, or null for a list."""
        if value is None:
            return ()
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if self.text is not None and self.text_path is not None:
            raise ValueError("text and text_path are both given")
        return self


@dataclass(frozen=True)
class Item:
    """A recording or document to recognise, and what is known of it."""

    id: str
    file: Path
    medium: Medium
    languages: tuple[str, ...] = ()
    kind: str = NO_KIND
    condition: str | None = None
    reference: str | None = None
    """The text; None: not known, so that the item is only timed."""
    keywords: tuple[str, ...] = ()
    words: tuple[WordTime, ...] = ()
    speakers: tuple[SpeakerSpan, ...] = ()
    tables: Path | None = None
    password: str | None = field(default=None, repr=False)
    duration: float | None = None
    """Seconds of audio, as the manifest says."""

    @property
    def language(self) -> str | None:
        """Return the main language, without script and region."""
        return primary_language(self.languages[0]) if self.languages else None

    @property
    def main_kind(self) -> str:
        """Return the part of the kind before the first comma."""
        return self.kind.partition(",")[0].strip() or NO_KIND


def read_manifest(path: Path) -> tuple[Item, ...]:
    """Read a manifest, and the references that it names.

    Raises:
        CommandError: it cannot be read, or lines of it are wrong; the text names them.
    """
    errors: list[str] = []
    items: dict[str, Item] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the manifest {path}: {_reason(error)}", EXIT_INPUT) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = _resolve(ManifestLine.model_validate_json(line), path.parent)
        except ValidationError as error:
            errors.append(f"line {number}: {_explain(error)}")
        except ValueError as error:
            errors.append(f"line {number}: {error}")
        else:
            if item.id in items:
                errors.append(f"line {number}: the id {item.id!r} is taken by a line before it")
            items[item.id] = item
    if errors:
        more = f"; and {len(errors) - MAX_ERRORS} more" if len(errors) > MAX_ERRORS else ""
        raise CommandError(f"{path}: {'; '.join(errors[:MAX_ERRORS])}{more}", EXIT_INPUT)
    if not items:
        raise CommandError(f"{path} has no items: write one JSON object a line, with `id` and `path`", EXIT_INPUT)
    return tuple(items.values())


def corpus_manifests(folder: Path) -> list[Path]:
    """Return the manifests of a corpus folder.

    Raises:
        CommandError: it has none.
    """
    found = [folder / name for name in MANIFEST_NAMES if (folder / name).is_file()]
    if not found:
        raise CommandError(f"the corpus folder {folder} has neither {' nor '.join(MANIFEST_NAMES)}", EXIT_INPUT)
    return found


def half_of(items: Sequence[Item], half: Half) -> list[Item]:
    """Return every other item, from the first (`even`) or second (`odd`): tune on one half, report the other."""
    return list(items[0 if half == "even" else 1 :: 2])


FilterKey = Literal["id", "medium", "language", "kind", "condition"]
FILTER_KEYS: tuple[FilterKey, ...] = get_args(FilterKey)


@dataclass(frozen=True)
class Filter:
    """Items whose value of a key matches a pattern of the shell, such as `kind=scan*`."""

    key: FilterKey
    pattern: str

    def matches(self, item: Item) -> bool:
        """Return whether an item is selected: any of its languages, its kind or a part of it between commas."""
        return any(fnmatchcase(value, self.pattern) for value in self._values(item))

    def _values(self, item: Item) -> Iterable[str]:
        match self.key:
            case "language":
                return (*item.languages, *map(primary_language, item.languages))
            case "kind":
                return (item.kind, *(part.strip() for part in item.kind.split(",")))
            case "condition":
                return (item.condition or "",)
            case _:
                return (str(getattr(item, self.key)),)


def select(items: Iterable[Item], filters: Sequence[Filter], limit: int | None = None) -> list[Item]:
    """Return the items that match one filter of each key, at most `limit`."""
    keys = {one.key for one in filters}
    chosen = [
        item for item in items if all(any(one.matches(item) for one in filters if one.key == key) for key in keys)
    ]
    return chosen[:limit]


def _resolve(line: ManifestLine, folder: Path) -> Item:
    """Return the item of a line, with the references read."""
    file = folder / line.path
    by_suffix = Medium.DOCUMENT if file.suffix.lower() in DOCUMENT_SUFFIXES else Medium.RECORDING
    return Item(
        id=line.id,
        file=file,
        medium=line.medium or by_suffix,
        languages=line.languages,
        kind=line.kind or NO_KIND,
        condition=line.condition,
        reference=line.text if line.text_path is None else _read(folder, "text_path", line.text_path),
        keywords=line.keywords,
        words=line.words,
        speakers=_speakers(line, folder),
        tables=None if line.tables is None else folder / line.tables,
        password=line.password,
        duration=line.duration_seconds,
    )


def _speakers(line: ManifestLine, folder: Path) -> tuple[SpeakerSpan, ...]:
    if line.rttm is not None:
        try:
            return parse_rttm(_read(folder, "rttm", line.rttm))
        except ValueError as error:
            raise ValueError(f"rttm: {line.rttm}: {error}") from None
    spans = [
        SpeakerSpan(turn.speaker, turn.start, turn.start + turn.duration)
        for turn in line.turns
        if turn.start is not None and turn.duration is not None
    ]
    return tuple(spans) if len(spans) == len(line.turns) else ()


def _read(folder: Path, field_name: str, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{field_name}: cannot read {name}: {_reason(error)}") from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"


def _explain(error: ValidationError) -> str:
    """Return what is wrong with a line, without the values of it."""
    parts: list[str] = []
    for one in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in one["loc"])
        parts.append(f"{where}: {one['msg']}" if where else one["msg"])
    return ", ".join(parts)
