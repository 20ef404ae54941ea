"""Session access: a revocation list for session tokens, asked by every protocol before and while it works for a client.

A signature says who issued a token, not that its session still exists. The operator's answers to reports list the
sessions that are open; what a server has begun for any other ends at once. While the operator is silent the latest list
stays in force: sessions that are open, and tokens issued since, are served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import PoolAnswer

log = logging.getLogger(__name__)

SILENCE_SECONDS = 60.0
"""Without an answer for this long, the server says that it cannot know whose tokens are void."""
LEEWAY_SECONDS = 5
"""For clocks that differ, when a token's expiry is checked."""
MAX_ENDED = 10_000
"""Sessions remembered so that their tokens are not used again; the oldest is forgotten first."""


class EndedSessions:
    """The UIDs of sessions that have ended on this server; bounded, oldest forgotten first."""

    def __init__(self) -> None:
        self._uids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, uid: str) -> None:
        """Remember that a session has ended."""
        self._uids[uid] = None
        while len(self._uids) > MAX_ENDED:
            self._uids.popitem(last=False)


@dataclass(eq=False)
class _Hold:
    claims: SessionClaims
    scope: asyncio.Timeout


class SessionAccess:
    """Whose tokens are valid, on a server's event loop.

    Attributes:
        ended: the sessions that have ended here.
        revision: of the operator's list of open sessions; empty: there is none.
    """

    def __init__(
        self, *, enforced: bool = True, revoked: Callable[[SessionClaims], ApiError | None] = lambda _: None
    ) -> None:
        """Know nothing yet: every token is valid until it expires.

        Args:
            enforced: whether clients have session tokens at all.
            revoked: returns why another credential, such as an API key, is void.
        """
        self.ended = EndedSessions()
        self.revision = ""
        self._enforced = enforced
        self._revoked = revoked
        self._open: frozenset[str] = frozenset()
        self._as_of = 0.0
        """When the list was true, by the operator's clock."""
        self._heard = time.monotonic()
        self._silent = False
        self._holds: set[_Hold] = set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def silence(self) -> float:
        """Seconds since the operator was last heard of, or since the server began."""
        return time.monotonic() - self._heard

    def revocation(self, claims: SessionClaims) -> ApiError | None:
        """Return why a token is void although it is signed and has not expired; None: it is not."""
        if not self._enforced:
            return self._revoked(claims)
        # One issued within the second in which the list was made may be of a session that is newer than the list.
        if self.revision and claims.uid not in self._open and claims.iat + 1 <= self._as_of:
            message = (
                "The token was revoked: its StreamSession was deleted, has ended, or its Tenant lost the namespace. "
                "Create another StreamSession."
            )
            return ApiError(ErrorCode.TOKEN_REVOKED, message)
        return None

    def check(self, claims: SessionClaims, *, new_work: bool = False) -> None:
        """Check that a client may go on.

        Args:
            claims: of its token.
            new_work: whether something new begins, for which the token must not have expired meanwhile, nor its session
                have ended here.

        Raises:
            ApiError: `TokenRevoked`, `TokenExpired` or `SessionEnded`.
        """
        if new_work and claims.uid in self.ended:
            raise ApiError(ErrorCode.SESSION_ENDED, "This session has ended. Create another StreamSession.")
        if (revocation := self.revocation(claims)) is not None:
            raise revocation
        if new_work and self._enforced and time.time() > claims.exp + LEEWAY_SECONDS:
            message = "The token has expired. Read it again, and send it with another call."
            raise ApiError(ErrorCode.TOKEN_EXPIRED, message)

    @contextlib.asynccontextmanager
    async def hold(self, claims: SessionClaims) -> AsyncIterator[None]:
        """Do a client's work, which is cancelled as soon as its token is void; like `asyncio.timeout`.

        Raises:
            ApiError: `TokenRevoked`, at the start, in the middle, or at the end instead of results.
        """
        self.check(claims)
        scope = asyncio.timeout(None)
        hold = _Hold(claims, scope)
        try:
            async with scope:
                self._holds.add(hold)
                yield
            self.check(claims)
        except TimeoutError:
            if scope.expired() and (revocation := self.revocation(claims)) is not None:
                raise revocation from None
            raise
        finally:
            self._holds.discard(hold)

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever tokens may have become void: it asks `revocation` about its own."""
        self._listeners.append(listener)

    def update(self, answer: PoolAnswer) -> None:
        """Take the operator's list of open sessions, or that it is still the same one."""
        self._heard = time.monotonic()
        if self._silent:
            log.info("the operator answers again")
            self._silent = False
        if answer.revision is None or answer.time is None:  # it keeps no list: the signature and `exp` have to do
            self.revision = ""
            return
        if answer.open is not None:
            self._open, self.revision = frozenset(answer.open), answer.revision
        elif answer.revision != self.revision:
            self.revision = ""  # have it sent
            return
        self._as_of = answer.time.timestamp()
        self.recheck()

    def recheck(self) -> None:
        """End what was begun with credentials that are void by now."""
        for hold in self._holds:
            if self.revocation(hold.claims) is not None and not hold.scope.expired():
                hold.scope.reschedule(asyncio.get_running_loop().time())
        for listener in self._listeners:
            listener()

    def note_silence(self) -> None:
        """Say so, once, if the operator has been silent for too long."""
        if not self._silent and self.silence > SILENCE_SECONDS:
            self._silent = True
            log.warning(
                "the operator has not answered reports: sessions go on, and tokens that it revokes stay valid until "
                "they expire",
                extra={"seconds": round(self.silence)},
            )
