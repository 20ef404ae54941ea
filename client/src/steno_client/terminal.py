"""Terminal output: a status line that is rewritten in place, and the printer of a session's events on top of it.

Where the output is not a terminal, a status line is printed whenever it changes.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TextIO

from rich.cells import cell_len, set_cell_size

from steno_api.documents.warnings import ResultWarning, summarise_warnings
from steno_client.formatting import format_warning, strip_control_characters, strip_escapes

_CLEAR = "\r\x1b[2K"


class StatusLine:
    """A context manager that clears its line when it exits.

    Args:
        out: the stream to write to.
        print_elsewhere: whether to print changing text where it cannot be rewritten because `out` is not a terminal.
        keep_end: whether text that is too long is cut at its start, so that its end stays visible.
    """

    def __init__(self, out: TextIO, *, print_elsewhere: bool = True, keep_end: bool = False) -> None:
        self._out = out
        self._print_elsewhere = print_elsewhere
        self._keep_end = keep_end
        self._terminal = out.isatty()
        self._text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        self._out.flush()

    def update(self, text: str) -> None:
        """Replace the status line."""
        if text == self._text:
            return
        if self._terminal:
            columns = shutil.get_terminal_size().columns - 1
            self._out.write(_CLEAR + _truncate(text, columns, keep_end=self._keep_end))
        elif self._print_elsewhere:
            self._out.write(text + "\n")
        self._text = text
        self._out.flush()

    def print(self, text: str) -> None:
        """Print a permanent line in place of the status line."""
        self._clear()
        self._out.write(text + "\n")
        self._out.flush()

    def _clear(self) -> None:
        if self._terminal and self._text:
            self._out.write(_CLEAR)
        self._text = ""


def _truncate(text: str, columns: int, *, keep_end: bool) -> str:
    if cell_len(text) <= columns:
        return text
    if not keep_end:
        return set_cell_size(text, columns - 1).rstrip() + "…"
    kept = text[-columns:]
    while cell_len(kept) > columns - 1:
        kept = kept[1:]
    return "…" + kept


class EventPrinter:
    """Prints a session's events for people: partials on a status line, finals above it. A context manager."""

    def __init__(self) -> None:
        self._line = StatusLine(sys.stdout, print_elsewhere=False, keep_end=True)
        self._by_type: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "partial": self._partial,
            "final": self._final,
            "error": self._error,
            "session_ended": self._session_ended,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._line.__exit__(*exc)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Print an event, unless its type is of no interest to people."""
        handler = self._by_type.get(str(event.get("type") or event.get("event")))
        if handler is not None:
            handler(event)

    def _partial(self, event: Mapping[str, Any]) -> None:
        self._line.update(strip_control_characters(str(event.get("text", ""))))

    def _final(self, event: Mapping[str, Any]) -> None:
        if text := strip_control_characters(str(event.get("text", ""))):
            self._line.print(text)

    def _error(self, event: Mapping[str, Any]) -> None:
        if not event.get("fatal"):  # a fatal error ends the command, which reports it
            text = str(event.get("message") or event.get("code") or "error")
            self._print_to_stderr(f"steno: {strip_control_characters(text)}")

    def _session_ended(self, event: Mapping[str, Any]) -> None:
        if manifest := event.get("manifest"):
            self._print_to_stderr(f"published: {strip_control_characters(str(manifest))}")
        for warning in event.get("warnings") or ():
            if isinstance(warning, Mapping):
                text = f"warning: {warning.get('reason')}: {warning.get('message')}"
                self._print_to_stderr(f"steno: {strip_control_characters(text)}")

    def _print_to_stderr(self, line: str) -> None:
        self._line.update("")  # standard output and standard error may be the same terminal
        print(line, file=sys.stderr)


def print_warnings(warnings: Iterable[ResultWarning]) -> None:
    """Print the warnings of a recording or of its result to standard error, one line for each reason."""
    for warning in summarise_warnings(warnings):
        print(f"steno: {format_warning(warning)}", file=sys.stderr)


def print_as_json(event: Mapping[str, Any]) -> None:
    """Print an event as one line of JSON."""
    text = json.dumps(event, ensure_ascii=False)
    print(strip_escapes(text) if sys.stdout.isatty() else text, flush=True)
