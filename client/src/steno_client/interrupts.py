"""Ctrl-C that cannot get lost: some libraries swallow the exception, in a bare `except:` while they are imported."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Generator[Callable[[], None]]:
    """Remembers Ctrl-C; yields what raises KeyboardInterrupt when called, should the first one have been swallowed.

    Outside of the main thread, which alone hears signals, nothing is changed.
    """
    asked = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.default_int_handler(number, frame)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, hear)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
