"""Token review: which pod a ServiceAccount token is bound to. Tokens are never logged; only digests are kept.

Anyone who reaches the endpoint may send tokens, so few of them reach the API server: what is not a token of a pod for
us by its own claims is refused here, and each address has a budget of tokens that look like one and are none.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from steno_api.worker.report import REPORT_AUDIENCE
from steno_kube.client import TOKEN_REVIEWS, Cluster

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_LEEWAY = 60.0
"""Seconds by which our clock may differ from the API server's, which has the last word."""
REFUSALS, REFUSALS_PER_SECOND = 5, 0.2
"""Of tokens of one address, at once and in the long run. Fewer than reviews run at a time: others wait for none."""
_CLAIMS_ERRORS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class TooManyRefusalsError(Exception):
    """An address has sent too many tokens that were refused."""


@dataclass(frozen=True)
class PodIdentity:
    """The pod a token is bound to."""

    namespace: str
    pod_name: str
    pod_uid: str
    account: str = ""
    """Name of its ServiceAccount."""


class TokenVerifier:
    """Asks the API server which pod a token is bound to, and keeps the answer for a while."""

    def __init__(
        self,
        cluster: Cluster,
        accepted_for: float = 60.0,
        refused_for: float = 10.0,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know no token yet.

        Args:
            cluster: the API server.
            accepted_for: seconds for which a token that was accepted is not reviewed again.
            refused_for: the same of one that was refused.
            limit: tokens to know, and addresses.
            clock: seconds.
        """
        self._cluster = cluster
        self._accepted_for = accepted_for
        self._refused_for = refused_for
        self._limit = limit
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[float, PodIdentity | None]] = OrderedDict()
        self._budget = _Budget(limit, clock)
        self._asking = asyncio.Semaphore(8)

    async def verify(self, token: str, address: str = "") -> PodIdentity | None:
        """Return the pod that the token is bound to, or None if it is not a valid token for us.

        Args:
            token: what was sent.
            address: where from.

        Raises:
            ApiError, UnreachableError: the API server could not be asked.
            TooManyRefusalsError: it was not asked, for what the address sent before.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._answers.get(digest)
        if known is not None and known[0] > self._clock():
            return known[1]
        if not claims_a_pod(token, time.time()):
            return None
        # A token that was accepted before needs none of the budget: pods may share an address with a stranger.
        counted = known is None or known[1] is None
        if counted and not self._budget.take(address):
            raise TooManyRefusalsError
        caller, asked = None, False
        try:
            async with self._asking:
                caller = await self._ask(token)
            asked = True
        finally:
            if counted and (caller is not None or not asked):
                self._budget.give_back(address)
        self._answers[digest] = (self._clock() + (self._refused_for if caller is None else self._accepted_for), caller)
        self._answers.move_to_end(digest)
        if len(self._answers) > self._limit:
            self._answers.popitem(last=False)
        return caller

    async def _ask(self, token: str) -> PodIdentity | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [REPORT_AUDIENCE]},
        }
        review = await self._cluster.create(TOKEN_REVIEWS, None, body, timeout=5.0)
        status = review.get("status") or {}
        user = status.get("user") or {}
        name = user.get("username", "")
        # An authenticator that knows no audiences answers without them: then it did not check that the token is for us.
        if not status.get("authenticated") or REPORT_AUDIENCE not in (status.get("audiences") or ()):
            return None
        extra = user.get("extra") or {}
        pods, uids = extra.get(_POD_NAME) or [], extra.get(_POD_UID) or []
        if not name.startswith(_SERVICE_ACCOUNT) or not pods or not uids:
            return None
        namespace, _, account = name.removeprefix(_SERVICE_ACCOUNT).partition(":")
        return PodIdentity(namespace, pods[0], uids[0], account)


class _Budget:
    """Token bucket of each address. By the whole address: the pods of a node may share all but the end of an IPv6."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What was left, and when."""

    def take(self, address: str) -> bool:
        left = self._now(address)
        if left < 1:
            return False
        self._set(address, left - 1)
        return True

    def give_back(self, address: str) -> None:
        self._set(address, self._now(address) + 1)

    def _now(self, address: str) -> float:
        left, since = self._left.get(address, (float(REFUSALS), 0.0))
        return min(float(REFUSALS), left + (self._clock() - since) * REFUSALS_PER_SECOND)

    def _set(self, address: str, left: float) -> None:
        self._left.pop(address, None)
        if left < REFUSALS:
            self._left[address] = (left, self._clock())
        if len(self._left) > self._limit:
            self._left.popitem(last=False)


def claims_a_pod(token: str, now: float) -> bool:
    """Return whether a token says of itself that it is one of a pod for us, and not expired; nothing is verified.

    Args:
        token: of a stranger.
        now: Unix time.
    """
    try:
        options: Any = {"verify_signature": False, "verify_aud": True, "require": ["exp", "sub"]}
        claims = jwt.decode(token, audience=REPORT_AUDIENCE, options=options)
        expires, subject, bound = claims["exp"], claims["sub"], claims["kubernetes.io"]
        pod, account, namespace = bound["pod"], bound["serviceaccount"], bound["namespace"]
        return (
            isinstance(expires, int)
            and expires + _LEEWAY > now
            and subject == f"{_SERVICE_ACCOUNT}{namespace}:{account['name']}"
            and all(isinstance(text, str) and bool(text) for text in (pod["name"], pod["uid"]))
        )
    except (*_CLAIMS_ERRORS, KeyError):
        return False
