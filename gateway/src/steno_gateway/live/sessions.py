"""Live sessions: what a client calls its session becomes a StreamSession of a name that follows from it.

So the same `session_id` finds the same session, through any replica: one whose server was lost goes on at another. One
that has ended makes way for a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from steno_api.failures import FailureReason
from steno_api.gateway.session_tokens import SessionTokenRequest
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_api.v1alpha1.reasons import Reason
from steno_api.v1alpha1.streamsession import StreamSession
from steno_gateway.access.principal import Principal
from steno_gateway.cluster.resources import Resources, derived_name, read_resource
from steno_gateway.live.tokens import NotReadyYetError, OperatorTokens, tls_context
from steno_gateway.live.upstream import Opened, RefusedError, open_upstream
from steno_gateway.settings import Settings
from steno_kube.keys import Key

log = logging.getLogger(__name__)

PREFIX = "gw"
TTL_SECONDS = 300
"""After which an ended session is deleted."""
RETRY_SECONDS = 0.5
SWEEP_SECONDS = 30.0
UNUSED = timedelta(seconds=120)
"""After which a session that is ready and has no client is deleted: one that waits for it connects at once."""
_KIND = StreamSession.definition.kind
_PASSING = frozenset(
    each.value.code
    for each in (
        ErrorCode.SESSION_ENDED,
        ErrorCode.TOKEN_REVOKED,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.SERVER_FULL,
        ErrorCode.NOT_READY,
        ErrorCode.DRAINING,
    )
)
"""Refusals of a server that may be over in a moment: another has room, or the operator learns what the server knows."""


class _GoneError(Exception):
    """The session that was waited for does not exist any more."""


@dataclass(frozen=True)
class SessionRequest:
    """What a client asks for.

    Attributes:
        session_id: what it calls its session: free text.
        meeting_id: what it calls the conversation; None: as the session.
        metadata: free text to keep.
        start: fields of `start_session` that are the server's to read.
        is_new: nobody else can know its ID.
    """

    session_id: str
    meeting_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    start: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_new: bool = False


class LiveSessions:
    """Finds, creates and opens sessions."""

    def __init__(self, settings: Settings, resources: Resources, tokens: OperatorTokens) -> None:
        """Open nothing yet.

        Args:
            settings: of the gateway.
            resources: what it has created.
            tokens: of sessions.
        """
        self._settings = settings
        self._resources = resources
        self._tokens = tokens
        self._tls: ssl.SSLContext | None = None

    @staticmethod
    def name(principal: Principal, session_id: str) -> str:
        """Return the name of the StreamSession of a client's session."""
        return derived_name(PREFIX, principal.tenant, principal.namespace, session_id)

    async def run(self) -> None:
        """Delete what clients have left behind, until cancelled; every replica does so for all."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep(datetime.now(UTC))

    async def sweep(self, now: datetime) -> None:
        """Delete sessions that are ready and that no client has come for: they would keep a place for nobody."""
        for entry in self._resources.cache(_KIND):
            session = _session(entry.value.resource)
            status = session.status
            if status.start_time or status.completion_time or session.metadata.deletion_timestamp:
                continue
            if status.ready_time is not None and now - status.ready_time > UNUSED:
                log.info("nobody came for a session", extra=entry.value.key.log())
                await self._delete(session)

    async def open(self, principal: Principal, request: SessionRequest) -> Opened:
        """Open a session on its server.

        Args:
            principal: whose session it is.
            request: what is asked for.

        Raises:
            ApiError: why not.
        """
        deadline = time.monotonic() + self._settings.stream_wait_seconds
        wanted, opened = self._resource(principal, request), None
        try:
            while True:
                try:
                    opened = await self._open(await self._ready(principal, wanted, deadline), request)
                except NotReadyYetError:
                    why = ApiError(ErrorCode.NOT_READY, "The session is not ready.", retry_after=5)
                except RefusedError as refusal:
                    why = ApiError(refusal.status, refusal.message, retry_after=5)
                    if refusal.status.code not in _PASSING:
                        raise why from None
                else:
                    return opened
                if time.monotonic() > deadline:
                    raise why
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if opened is None and request.is_new:
                with contextlib.suppress(ApiError):
                    await asyncio.shield(self._discard(Key.of(_KIND, wanted.to_wire())))

    async def _open(self, session: StreamSession, request: SessionRequest) -> Opened:
        metadata = session.metadata
        reference = SessionTokenRequest(namespace=metadata.namespace or "", name=metadata.name, uid=metadata.uid)
        token = await self._tokens.get(reference)
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, self._settings.stream_ca_file)
        return await open_upstream(token, request.start, self._tls)

    async def _ready(self, principal: Principal, wanted: StreamSession, deadline: float) -> StreamSession:
        """Return a session that a client can connect to."""
        key = Key(_KIND, principal.namespace, wanted.metadata.name)
        while True:
            session = _session(await self._resources.create(wanted, key_id=principal.id, digest=key.name))
            if session.status.completion_time is not None and session.metadata.deletion_timestamp is None:
                await self._delete(session)  # of an earlier conversation; its results stay
            elif session.metadata.deletion_timestamp is None:
                with contextlib.suppress(_GoneError):
                    return await self._wait(key, session.metadata.uid, deadline)
            if time.monotonic() > deadline:
                raise _not_ready(session, self._settings.stream_wait_seconds)
            await asyncio.sleep(RETRY_SECONDS)

    async def _wait(self, key: Key, uid: str, deadline: float) -> StreamSession:
        """Wait until a session is ready.

        Raises:
            _GoneError: it was deleted, or another has its name.
            ApiError: it ended, or the time is over.
        """
        try:
            left = max(0.0, deadline - time.monotonic())
            session = _session(await self._resources.wait(key, _is_decided, left))
        except ApiError as error:
            if error.status is ErrorCode.JOB_NOT_FOUND.value:
                raise _GoneError from None
            raise
        if session.metadata.uid != uid:
            raise _GoneError
        if session.status.completion_time is not None:
            raise _failure(session)
        if not session.status.endpoints:
            raise _not_ready(session, self._settings.stream_wait_seconds)
        return session

    def _resource(self, principal: Principal, request: SessionRequest) -> StreamSession:
        spec = {
            "ttlSecondsAfterFinished": TTL_SECONDS,
            **self._settings.stream,
            "meetingID": (request.meeting_id or request.session_id)[:253],
            "metadata": dict(request.metadata),
            "tenantRef": {"name": principal.tenant},
        }
        return read_resource(StreamSession, principal.namespace, self.name(principal, request.session_id), spec)

    async def _discard(self, key: Key) -> None:
        await self._delete(_session(await self._resources.get(key)))

    async def _delete(self, session: StreamSession) -> None:
        try:
            await self._resources.delete(session)
        except ApiError as error:
            log.warning("a session could not be deleted: %s", error, extra={"session": session.metadata.name})


def _session(resource: Any) -> StreamSession:
    assert isinstance(resource, StreamSession)  # noqa: S101 - asked for by kind
    return resource


def _is_decided(resource: Any) -> bool:
    status = _session(resource).status
    return bool(status.endpoints) or status.completion_time is not None


def _failure(session: StreamSession) -> ApiError:
    """Return why a session ended before it began."""
    failed = next((each for each in session.status.conditions if each.type == "Failed"), None)
    if failed is None or failed.reason not in set(FailureReason):
        return ApiError(ErrorCode.SESSION_ENDED, failed.message if failed else "The session has ended.")
    if failed.reason == FailureReason.QUOTA_EXCEEDED:
        return ApiError(ErrorCode.QUOTA_EXCEEDED, failed.message)
    return ApiError(failure_status(FailureReason(failed.reason)), failed.message)


def _not_ready(session: StreamSession, seconds: float) -> ApiError:
    queue = session.status.queue
    why = queue.message if queue is not None else "The operator has not seen it yet."
    code = ErrorCode.SERVER_FULL if queue is not None and queue.reason == Reason.POOL_FULL else ErrorCode.NOT_READY
    return ApiError(code, f"The session was not ready within {seconds:g} s. {why}", retry_after=30)
