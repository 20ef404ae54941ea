"""Where workers report: `POST /v1/reports`, signed with the pod's own projected token.

Nothing here is needed for a job to end well; a lost report costs a progress bar. So every answer is quick, and
nothing is kept but the latest report of each job. Tokens are never logged, and only their digests are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import pydantic
from aiohttp import web

from steno_api.report import REPORT_AUDIENCE, REPORT_PATH, Report
from steno_operator.control import metrics
from steno_operator.control.cluster import TOKEN_REVIEWS, ApiError, Cluster, UnreachableError
from steno_operator.control.store import Store

log = logging.getLogger(__name__)

MAX_BODY = 16 * 1024
_MAX_TOKEN = 16 * 1024
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Caller:
    """The pod a token is bound to."""

    namespace: str
    pod_name: str
    pod_uid: str


class TokenVerifier:
    """Asks the API server whose a token is, and remembers the answer for a little while."""

    def __init__(
        self, cluster: Cluster, accepted_for: float = 60.0, refused_for: float = 10.0, limit: int = 10_000
    ) -> None:
        self._cluster = cluster
        self._accepted_for = accepted_for
        self._refused_for = refused_for
        self._limit = limit
        self._answers: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._asking = asyncio.Semaphore(8)

    async def verify(self, token: str) -> Caller | None:
        """Returns the pod the token is bound to, or None if it is not a good token for us.

        Raises:
            ApiError, UnreachableError: nobody could be asked.
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

    async def _ask(self, token: str) -> Caller | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [REPORT_AUDIENCE]},
        }
        review = await self._cluster.create(TOKEN_REVIEWS, None, body, timeout=5.0)
        status = review.get("status") or {}
        user = status.get("user") or {}
        name = user.get("username", "")
        # An authenticator that knows no audiences answers without them: then nobody checked that the token is for us.
        if not status.get("authenticated") or REPORT_AUDIENCE not in (status.get("audiences") or ()):
            return None
        extra = user.get("extra") or {}
        pods, uids = extra.get(_POD_NAME) or [], extra.get(_POD_UID) or []
        if not name.startswith(_SERVICE_ACCOUNT) or not pods or not uids:
            return None
        return Caller(name.removeprefix(_SERVICE_ACCOUNT).partition(":")[0], pods[0], uids[0])


class ReportEndpoint:
    """The HTTP application; answers 503 while this replica does not lead."""

    def __init__(self, serving: Callable[[], tuple[Store, TokenVerifier] | None]) -> None:
        self._serving = serving
        self.app = web.Application(client_max_size=MAX_BODY)
        self.app.router.add_post(REPORT_PATH, self._post)

    async def _post(self, request: web.Request) -> web.Response:
        code, message = await self._take(request)
        metrics.REPORTS.labels(str(code)).inc()
        return web.json_response({"message": message}, status=code)

    async def _take(self, request: web.Request) -> tuple[int, str]:  # noqa: PLR0911 - one return per answer
        serving = self._serving()
        if serving is None:
            return 503, "this replica is not leading"
        store, verifier = serving
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN:
            return 401, "a bearer token is needed"
        try:
            caller = await verifier.verify(token.strip())
        except (ApiError, UnreachableError) as error:
            log.warning("a token could not be verified: %s", error)
            return 503, "the token could not be verified now"
        if caller is None:
            return 401, f"the token is not that of a running pod for the audience {REPORT_AUDIENCE}"
        try:
            report = Report.model_validate_json(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return 400, f"a report has at most {MAX_BODY} bytes"
        except pydantic.ValidationError as error:
            places = {".".join(str(part) for part in fault["loc"]) for fault in error.errors(include_input=False)}
            return 400, f"not a report: {', '.join(sorted(places)) or 'no JSON object'}"
        return self._accept(store, caller, report)

    @staticmethod
    def _accept(store: Store, caller: Caller, report: Report) -> tuple[int, str]:
        job = report.job
        key = store.key_of(job.uid)
        if key is None or (key.namespace, key.name) != (job.namespace, job.name):
            return 409, "no such job"
        attempt = store.attempt_of_pod(job.uid, caller.pod_uid)
        if attempt is None or caller.namespace != job.namespace:
            return 403, "the token is not that of a pod of this job"
        if attempt != report.attempt:
            return 403, "the token is not that of a pod of this attempt"
        if report.attempt != store.latest_attempt(job.uid):
            return 409, "a later attempt has begun"
        store.put_report(key, job.uid, report.attempt, report.progress)
        return 202, "accepted"
