"""HTTP server for the reports of workers and servers: POSTs, authenticated with the pod's own projected token.

A job ends the same without them; a lost report costs a progress bar. So every answer is quick, and nothing is kept but
the latest report of each job. What pools' servers report is in `pools`; gateways ask here for `session_tokens`, workers
and servers for `result_keys`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic
from aiohttp import web

from steno_api.gateway.session_tokens import SESSION_TOKEN_PATH, SessionTokenRequest
from steno_api.model import Model
from steno_api.server.reports import POOL_REPORT_PATH, PoolReport
from steno_api.worker.report import ATTEMPT_REPORT_PATH, REPORT_AUDIENCE, REPORT_PATH, AttemptReport, Report
from steno_api.worker.result_keys import RESULT_KEY_PATH, ResultKeyRequest
from steno_kube.client import ApiError, UnreachableError
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.reports import attempts, pools
from steno_operator.control.reports.callers import attempt_of
from steno_operator.control.reports.result_keys import take_result_key_request
from steno_operator.control.reports.session_tokens import SessionTokens
from steno_operator.control.reports.token_review import PodIdentity, TokenVerifier, TooManyRefusalsError
from steno_operator.plan.common.usage import process_id
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

MAX_BODY = 16 * 1024
_MAX_TOKEN = 16 * 1024

Answer = tuple[int, dict[str, Any]]
"""HTTP status and JSON body."""


@dataclass(frozen=True)
class Route:
    """One kind of report."""

    path: str
    model: type[Model]
    max_body: int
    take: Callable[[ClusterState, PodIdentity, Any], Answer]


def take_job_report(state: ClusterState, caller: PodIdentity, report: Report) -> Answer:
    """Take in a worker's report.

    Args:
        state: what is observed.
        caller: the pod that the token is bound to.
        report: what it says.
    """
    job = report.job
    owner = OwnerKey(job.namespace, job.uid)
    resource = state.owner(owner)
    if resource is None or resource.key.name != job.name:
        return _answer(409, "no such job")
    numbers = [child.value.child.attempt for child in state.children(owner)]
    attempt = attempt_of(state, caller, owner)
    if attempt is None:
        return _answer(403, "the token is not that of a pod of this job")
    if attempt != report.attempt:
        return _answer(403, "the token is not that of a pod of this attempt")
    if report.attempt != max(numbers):
        return _answer(409, "a later attempt has begun")
    pod = state.pods.get(caller.pod_uid)
    process = "" if pod is None else process_id(pod.value.pod)
    state.progress.update(resource.key, job.uid, report.attempt, report.progress, process=process)
    return _answer(202, "accepted")


ROUTES = (
    Route(REPORT_PATH, Report, MAX_BODY, take_job_report),
    Route(ATTEMPT_REPORT_PATH, AttemptReport, attempts.MAX_BODY, attempts.take_attempt_report),
    Route(POOL_REPORT_PATH, PoolReport, pools.MAX_BODY, pools.take_pool_report),
    Route(RESULT_KEY_PATH, ResultKeyRequest, MAX_BODY, take_result_key_request),
)


def routes(gateways: Collection[str] = ()) -> tuple[Route, ...]:
    """Return every route.

    Args:
        gateways: `<namespace>/<name>` of the ServiceAccounts that get tokens of their sessions.
    """
    tokens = Route(SESSION_TOKEN_PATH, SessionTokenRequest, MAX_BODY, SessionTokens(gateways).take)
    return (*ROUTES, tokens) if gateways else ROUTES


class ReportEndpoint:
    """The HTTP application; answers 503 while this replica does not lead."""

    def __init__(
        self, serving: Callable[[], tuple[ClusterState, TokenVerifier] | None], routes: Sequence[Route] = ROUTES
    ) -> None:
        self._serving = serving
        self.app = web.Application(client_max_size=max(route.max_body for route in routes))
        for route in routes:
            self.app.router.add_post(route.path, self._handler(route))

    def _handler(self, route: Route) -> Callable[[web.Request], Any]:
        async def post(request: web.Request) -> web.Response:
            code, body = await self._take(request, route)
            metrics.REPORTS.labels(str(code)).inc()
            return web.json_response(body, status=code)

        return post

    async def _take(self, request: web.Request, route: Route) -> Answer:  # noqa: PLR0911 - one return per answer
        serving = self._serving()
        if serving is None:
            return _answer(503, "this replica is not leading")
        state, verifier = serving
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN:
            return _answer(401, "a bearer token is needed")
        try:
            caller = await verifier.verify(token.strip(), request.remote or "")
        except TooManyRefusalsError:
            return _answer(429, "too many tokens of this address were refused")
        except (ApiError, UnreachableError) as error:
            log.warning("a token could not be reviewed: %s", error)
            return _answer(503, "the token could not be verified now")
        if caller is None:
            return _answer(401, f"the token is not that of a running pod for the audience {REPORT_AUDIENCE}")
        report = await _read(request, route)
        if isinstance(report, str):
            return _answer(400, report)
        if self._serving() is None:
            return _answer(503, "this replica is not leading")  # it stopped leading meanwhile
        return route.take(state, caller, report)


async def _read(request: web.Request, route: Route) -> Model | str:
    """Return the report, or what is wrong with it."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
    if not body or len(body) > route.max_body:
        return f"a report has at most {route.max_body} bytes, and at least one"
    try:
        return route.model.model_validate_json(body)
    except pydantic.ValidationError as error:
        places = {".".join(str(part) for part in fault["loc"]) for fault in error.errors(include_input=False)}
        return f"not a report: {', '.join(sorted(places)[:20]) or 'no JSON object'}"


def _answer(code: int, message: str) -> Answer:
    return code, {"message": message}
