"""Helpers of all storage: retries with exponential backoff, and URIs without secrets."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from steno_runtime.errors import Check

_PAUSE_STEP_SECONDS = 0.1


class Unavailable(Exception):  # noqa: N818  (a state of the server, not a defect)
    """The server did not answer as it should, but may when it is asked again; the text says what happened."""


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with jitter.

    Attributes:
        attempts: tries in a row without any progress before giving up.
        first_pause: seconds before the second try; doubled (and jittered) for each further one.
        max_pause: seconds that no pause exceeds.
    """

    attempts: int = 5
    first_pause: float = 0.5
    max_pause: float = 10.0

    def pause(self, failures: int, check: Check) -> None:
        """Wait after the given number of failures in a row; `check` may raise meanwhile."""
        full = min(self.max_pause, self.first_pause * 2 ** (failures - 1))
        end = time.monotonic() + full * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load; not a secret)
        while (left := end - time.monotonic()) > 0:
            check()
            time.sleep(min(left, _PAUSE_STEP_SECONDS))


def redact(uri: str) -> str:
    """Return `uri` without user, password, query and fragment, which may be credentials."""
    if not uri.lower().startswith(("http://", "https://")):
        return uri
    try:
        parts = urlsplit(uri)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    except ValueError:
        return uri.partition("?")[0].rpartition("@")[2]
