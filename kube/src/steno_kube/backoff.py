"""Exponential backoff with jitter, for retries of requests, watches and queue keys."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with jitter, in seconds."""

    base: float = 1.0
    limit: float = 300.0

    def delay(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Return the wait after that many failures in a row (from 1): between half of and the full power of two."""
        full = min(self.limit, self.base * 2 ** min(failures - 1, 32))
        return full * (0.5 + draw() / 2)
