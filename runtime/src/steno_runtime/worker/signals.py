"""SIGTERM: the work is asked to stop, and ended if it does not listen."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from steno_api.failures import EXIT_TERMINATED
from steno_runtime.errors import Stopped

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""Time to stop by itself. Nothing is worth waiting for: what is half done is not published."""

SHIELDED_GRACE_SECONDS = 20.0
"""Time to finish what is shielded; within Kubernetes' usual 30 s."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.05


class Stop:
    """Knows whether the worker was told to stop.

    The signal is taken by a thread of its own, so that it is noticed even while the main thread sits in a library that
    never comes back to Python.
    """

    def __init__(self, last_resort: Callable[[], None]) -> None:
        self._last_resort = last_resort
        self._asked = threading.Event()
        self._shielded = 0

    def listen(self) -> None:
        """Begins to take signals; call it before any other thread is started, as threads inherit the mask."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def check(self) -> None:
        """Raises `Stopped` if the worker was told to stop, unless the work is shielded."""
        if self._asked.is_set() and not self._shielded:
            raise Stopped

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Work that is short and better finished: a stop waits for it, up to `SHIELDED_GRACE_SECONDS`."""
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1

    def _watch(self) -> None:
        number = signal.sigwait(_SIGNALS)
        asked_at = time.monotonic()
        self._asked.set()
        log.info("told to stop", extra={"signal": signal.Signals(number).name})
        while time.monotonic() - asked_at < (SHIELDED_GRACE_SECONDS if self._shielded else GRACE_SECONDS):
            time.sleep(_POLL_SECONDS)
        try:
            self._last_resort()
        finally:
            os._exit(EXIT_TERMINATED)
