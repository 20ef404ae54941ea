"""Readiness gate: holds the warm engine once it is loaded, and closes for good when the server drains.

Sessions and uploads pass it before anything else; `/readyz` and the gRPC health service show it. It is apart because
neither of those two services may import the other.
"""

from __future__ import annotations

from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.stream.engine import EngineStatus, StreamEngine


class Readiness:
    """Whether this server takes work, and the engine that does it."""

    def __init__(self) -> None:
        self._engine: StreamEngine | None = None
        self._draining = False

    @property
    def engine(self) -> StreamEngine | None:
        """The engine; None while it is being loaded."""
        return self._engine

    @property
    def ready(self) -> bool:
        """Whether sessions and uploads are accepted."""
        return self._engine is not None and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._draining

    def set_engine(self, engine: StreamEngine) -> None:
        """Accept work from now on, unless the server is draining."""
        self._engine = engine

    def start_draining(self) -> None:
        """Accept no more work."""
        self._draining = True

    def require_engine(self) -> StreamEngine:
        """Return the engine.

        Raises:
            ApiError: `Draining` or `NotReady`.
        """
        if self._draining:
            message = "This server is about to stop. Connect again: another one takes over."
            raise ApiError(ErrorCode.DRAINING, message, retry_after=5)
        if self._engine is None:
            message = "The model is still being loaded. Try again in a few seconds."
            raise ApiError(ErrorCode.NOT_READY, message, retry_after=5)
        return self._engine

    def engine_status(self) -> EngineStatus | None:
        """Return the engine's figures; None while it is being loaded."""
        return None if self._engine is None else self._engine.status()
