"""Token review: which pod a ServiceAccount token is bound to. Tokens are never logged; only digests are kept."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from steno_api.worker.report import REPORT_AUDIENCE
from steno_kube.client import TOKEN_REVIEWS, Cluster

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = "system:serviceaccount:"


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
        self, cluster: Cluster, accepted_for: float = 60.0, refused_for: float = 10.0, limit: int = 10_000
    ) -> None:
        self._cluster = cluster
        self._accepted_for = accepted_for
        self._refused_for = refused_for
        self._limit = limit
        self._answers: OrderedDict[bytes, tuple[float, PodIdentity | None]] = OrderedDict()
        self._asking = asyncio.Semaphore(8)

    async def verify(self, token: str) -> PodIdentity | None:
        """Return the pod that the token is bound to, or None if it is not a valid token for us.

        Raises:
            ApiError, UnreachableError: the API server could not be asked.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._answers.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        async with self._asking:
            caller = await self._ask(token)
        until = time.monotonic() + (self._refused_for if caller is None else self._accepted_for)
        self._answers[digest] = (until, caller)
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
