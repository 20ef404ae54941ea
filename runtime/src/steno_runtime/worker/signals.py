"""SIGTERM handling: the work is asked to stop, and the process ended if it does not stop in time."""

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
"""Time to stop by itself. There is nothing to wait for: what is half done is not published."""

SHIELDED_GRACE_SECONDS = 20.0
"""Time to finish what is shielded; less than Kubernetes' usual grace period of 30 s."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.05


class StopRequest:
    """Whether a piece of work was asked to stop; any thread may ask."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._shielded = 0

    def request(self) -> None:
        """Ask the work to stop."""
        self._requested.set()

    def check(self) -> None:
        """Raise `Stopped` if the work was asked to stop, unless it is shielded."""
        if self._requested.is_set() and not self._shielded:
            raise Stopped

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Protect short work that is better finished: a stop waits for it, up to `SHIELDED_GRACE_SECONDS`."""
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1


class StopSignal(StopRequest):
    """A stop that SIGTERM requests.

    The signal is taken by a thread of its own, so that it is noticed even while the main thread is in a library that
    never returns to Python.
    """

    def __init__(self, on_timeout: Callable[[], None]) -> None:
        """Prepare.

        Args:
            on_timeout: called when the work did not stop in time, right before the process is ended.
        """
        super().__init__()
        self._on_timeout = on_timeout

    def install(self) -> None:
        """Begin to take signals; call this before any other thread is started, as threads inherit the mask."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        number = signal.sigwait(_SIGNALS)
        requested_at = time.monotonic()
        self.request()
        log.info("asked to stop", extra={"signal": signal.Signals(number).name})
        while time.monotonic() - requested_at < (SHIELDED_GRACE_SECONDS if self._shielded else GRACE_SECONDS):
            time.sleep(_POLL_SECONDS)
        try:
            self._on_timeout()
        finally:
            os._exit(EXIT_TERMINATED)
