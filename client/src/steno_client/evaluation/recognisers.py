"""Recognisers: what turns an item into a transcript or pages, behind one small protocol, and runs over many items.

What is scored is taken from the document that a job would publish, so that all recognisers are scored alike.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol

from pydantic import BaseModel

from steno_api.documents.pages import Pages
from steno_api.documents.transcript import Transcript
from steno_client.errors import EXIT_INPUT, EXIT_NOT_FOUND, EXIT_UNAVAILABLE, THE_RUNTIME, CommandError
from steno_client.evaluation.manifest import Item, WordTime
from steno_client.evaluation.scores import Hypothesis, score
from steno_client.evaluation.speakers import SpeakerSpan, bridge_pauses
from steno_client.evaluation.summary import Outcome
from steno_client.formatting import strip_control_characters

Languages = Literal["given", "auto"]


@dataclass(frozen=True)
class Recognition:
    """What a recogniser made of an item, and how long it took."""

    hypothesis: Hypothesis
    amount: float
    """Seconds of audio, or pages."""
    seconds: float
    """Time that it took, without waiting and without loading a model."""
    warnings: tuple[str, ...] = ()
    """Reason of each warning."""


class Recogniser(Protocol):
    """Recognises one item after the other."""

    @property
    def description(self) -> str:
        """Return what recognises, and with which model, in a few words."""
        ...

    @property
    def load_seconds(self) -> float:
        """Return how long loading models took so far, apart from the items."""
        ...

    def recognise(self, item: Item) -> Recognition:
        """Recognise an item.

        Raises:
            CommandError: it cannot be processed; the text says what to do.
        """
        ...


@dataclass(frozen=True)
class RecogniserOptions:
    """What every recogniser is given with an item."""

    languages: Languages = "given"
    """Whether the manifest's languages are given, or none."""
    diarize: bool = True
    """Whether speakers are identified where the manifest says who speaks."""

    def languages_of(self, item: Item) -> tuple[str, ...]:
        """Return the languages to give; empty: they are detected."""
        return item.languages if self.languages == "given" else ()

    def diarizes(self, item: Item) -> bool:
        """Return whether the item's speakers are identified."""
        return self.diarize and bool(item.speakers)


class PublishedDocuments:
    """Documents that exist already: `ID.json`, or a job's `transcript.json` or `pages.json` in `ID/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.description = f"documents in {directory.name or directory}"
        self.load_seconds = 0.0

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`; the time is what the document says, with the loading of its model."""
        names = (f"{item.id}.json", f"{item.id}/transcript.json", f"{item.id}/pages.json", f"{item.file.stem}.json")
        for path in (self._directory / name for name in names):
            try:
                return parse_document(path.read_bytes())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CommandError(f"cannot read {path}: {error.strerror}", EXIT_INPUT) from error
            except ValueError as error:
                message = f"{path} is neither a transcript nor pages of Steno: {str(error).splitlines()[0]}"
                raise CommandError(message, EXIT_INPUT) from error
        raise CommandError(f"{self._directory} has no {' or '.join(names[:3])}", EXIT_NOT_FOUND)


class _Document(BaseModel):
    schema_version: str = ""


def parse_document(content: bytes) -> Recognition:
    """Return what a published document says; the time is the document's own.

    Raises:
        ValueError: it is neither a transcript nor pages.
    """
    if _Document.model_validate_json(content).schema_version.startswith("steno.dev/pages/"):
        return from_pages(Pages.model_validate_json(content))
    return from_transcript(Transcript.model_validate_json(content))


def from_transcript(transcript: Transcript) -> Recognition:
    """Return what a transcript says."""
    words = [word for segment in transcript.segments for word in segment.words]
    spoken = (
        [(word.speaker, word.start, word.end) for word in words]
        if words
        else [(segment.speaker, segment.start, segment.end) for segment in transcript.segments]
    )
    spans = [SpeakerSpan(speaker, start, end) for speaker, start, end in spoken if speaker is not None]
    hypothesis = Hypothesis(
        text=transcript.transcript,
        words=tuple(WordTime(word=word.word, start=word.start, end=word.end) for word in words),
        speakers=bridge_pauses(spans) if transcript.has_diarization else None,
        duration=transcript.duration,
    )
    warnings = tuple(warning.reason.value for warning in transcript.warnings)
    return Recognition(hypothesis, transcript.duration, transcript.processing_time, warnings)


def from_pages(pages: Pages) -> Recognition:
    """Return what pages say."""
    warnings = tuple(warning.reason.value for warning in pages.warnings)
    return Recognition(Hypothesis(pages.text), pages.total_pages, pages.processing_time, warnings)


def evaluate(items: Iterable[Item], recogniser: Recogniser) -> Iterator[Outcome]:
    """Recognise and score items one after the other, and yield what became of each; one that fails stops no other.

    Args:
        items: what to recognise.
        recogniser: does it.

    Raises:
        ModuleNotFoundError: the recogniser is not installed, so that no item can be processed.
    """
    for item in items:
        try:
            recognition = recogniser.recognise(item)
            scores = score(item, recognition.hypothesis)
        except ModuleNotFoundError:
            raise
        except CommandError as error:
            yield Outcome(item, error=strip_control_characters(str(error)))
        except Exception as error:  # noqa: BLE001 - a defect that one item shows must not cost the others
            yield Outcome(item, error=strip_control_characters(f"unexpected {type(error).__name__}: {error}")[:300])
        else:
            yield Outcome(
                item,
                scores,
                text=recognition.hypothesis.text,
                amount=recognition.amount,
                seconds=recognition.seconds,
                warnings=recognition.warnings,
            )


@contextmanager
def readable_file(item: Item) -> Generator[Path]:
    """Yield the file of an item, or a copy of it without its password.

    Raises:
        CommandError: there is no such file, or it cannot be decrypted.
    """
    if not item.file.is_file():
        raise CommandError(f"there is no file {item.file}", EXIT_INPUT)
    if item.password is None:
        yield item.file
        return
    try:
        import pikepdf  # noqa: PLC0415 - need not be installed
    except ModuleNotFoundError as error:
        message = f"{item.file.name} is encrypted, and decrypting it needs pikepdf: install it, or {THE_RUNTIME}"
        raise CommandError(message, EXIT_UNAVAILABLE) from error
    with TemporaryDirectory(prefix="steno-") as folder:
        copy = Path(folder) / item.file.name
        try:
            with pikepdf.open(item.file, password=item.password) as pdf:
                pdf.save(copy)
        except pikepdf.PasswordError as error:
            raise CommandError(f"the password does not open {item.file.name}", EXIT_INPUT) from error
        except pikepdf.PdfError as error:
            raise CommandError(f"{item.file.name} is not a PDF that can be decrypted", EXIT_INPUT) from error
        yield copy
