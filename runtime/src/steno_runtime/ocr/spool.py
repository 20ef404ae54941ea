"""Spool of pages: JSON lines on disk, so that one page is in memory however long the document is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from steno_api.documents.pages import Page


class PageSpool:
    """Pages in the order in which they were added: iterated any number of times, or read by number from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[int, int] = {}
        path.write_bytes(b"")

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def add(self, page: Page) -> None:
        """Append `page`."""
        with self._path.open("ab") as file:
            self._offsets[page.number] = file.tell()
            file.write(page.model_dump_json().encode() + b"\n")

    def __iter__(self) -> Iterator[Page]:
        with self._path.open("rb") as file:
            for line in file:
                yield Page.model_validate_json(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, number: int) -> Page | None:
        """Return the page with that number in the source; None if it was not added."""
        if number not in self._offsets:
            return None
        with self._path.open("rb") as file:
            file.seek(self._offsets[number])
            return Page.model_validate_json(file.readline())

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
