"""Pages on disk, one JSON line each: however long the document, one page is in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from steno_api.documents.pages import Page


class PageSpool:
    """Pages in the order they were added; read from the start as often as wanted, or by page number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[int, int] = {}
        self._lock = threading.Lock()
        path.write_bytes(b"")

    def add(self, page: Page) -> None:
        """Appends `page`."""
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
        """The page of that number in the source, if it is here."""
        if number not in self._offsets:
            return None
        with self._lock, self._path.open("rb") as file:
            file.seek(self._offsets[number])
            return Page.model_validate_json(file.readline())

    def discard(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
