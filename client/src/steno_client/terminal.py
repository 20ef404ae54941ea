"""A line that is rewritten in place on a terminal, and printed when it changes anywhere else."""

from __future__ import annotations

import shutil
from typing import Self, TextIO

from rich.cells import cell_len, set_cell_size

_CLEAR = "\r\x1b[2K"


class LiveLine:
    """Use as a context: at its end nothing of a live line is left on the terminal.

    Args:
        out: where to.
        echo: whether a line that will change is printed at all where it cannot be rewritten.
        end: of a line that is too long show the end, where the news is, instead of the beginning.
    """

    def __init__(self, out: TextIO, *, echo: bool = True, end: bool = False) -> None:
        self._out = out
        self._echo = echo
        self._end = end
        self._terminal = out.isatty()
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        self._out.flush()

    def show(self, text: str) -> None:
        """Shows a line that may change."""
        if text == self._shown:
            return
        if self._terminal:
            self._out.write(_CLEAR + _fitted(text, shutil.get_terminal_size().columns - 1, end=self._end))
        elif self._echo:
            self._out.write(text + "\n")
        self._shown = text
        self._out.flush()

    def keep(self, text: str) -> None:
        """Prints a line that stays, in place of the live one."""
        self._clear()
        self._out.write(text + "\n")
        self._out.flush()

    def _clear(self) -> None:
        if self._terminal and self._shown:
            self._out.write(_CLEAR)
        self._shown = ""


def _fitted(text: str, columns: int, *, end: bool) -> str:
    if cell_len(text) <= columns:
        return text
    if not end:
        return set_cell_size(text, columns - 1).rstrip() + "…"
    kept = text[-columns:]
    while cell_len(kept) > columns - 1:
        kept = kept[1:]
    return "…" + kept
