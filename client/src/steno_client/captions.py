"""Events of a session as people read them: what is being said on one line that changes, finals above it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from steno_client.show import plain
from steno_client.terminal import LiveLine


class Captions:
    """Prints a session's events; use as a context."""

    def __init__(self) -> None:
        self._line = LiveLine(sys.stdout, echo=False, end=True)
        self._by_type: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "partial": self._partial,
            "final": self._final,
            "error": self._error,
            "session_ended": self._ended,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._line.__exit__(*exc)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Prints one event, if it is for people."""
        handler = self._by_type.get(str(event.get("type") or event.get("event")))
        if handler is not None:
            handler(event)

    def _partial(self, event: Mapping[str, Any]) -> None:
        self._line.show(plain(str(event.get("text", ""))))

    def _final(self, event: Mapping[str, Any]) -> None:
        if text := plain(str(event.get("text", ""))):
            self._line.keep(text)

    def _error(self, event: Mapping[str, Any]) -> None:
        if not event.get("fatal"):  # a fatal one ends the command, which says it
            self._note(f"steno: {plain(str(event.get('message') or event.get('code') or 'error'))}")

    def _ended(self, event: Mapping[str, Any]) -> None:
        if manifest := event.get("manifest"):
            self._note(f"published: {plain(str(manifest))}")

    def _note(self, line: str) -> None:
        self._line.show("")  # both may be the same terminal
        print(line, file=sys.stderr)


def json_lines(event: Mapping[str, Any]) -> None:
    """Prints an event as one line of JSON."""
    print(json.dumps(event, ensure_ascii=False), flush=True)
