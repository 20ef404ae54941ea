"""What strangers' tokens cost: few of them reach the API server, and those of pods do not wait for them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from kubernetes.aio import client

from steno_kube.client import Cluster
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.reports.server import ReportEndpoint
from steno_operator.control.reports.token_review import REFUSALS, TokenVerifier

KEY = "the API server's, for what it matters here: thirty-two bytes"


def claims(name: str = "talk-1-x", **more: Any) -> dict[str, Any]:
    """Return those of a pod's token, as the API server issues them."""
    bound = {
        "namespace": "ns",
        "pod": {"name": name, "uid": f"uid-{name}"},
        "serviceaccount": {"name": "default", "uid": "sa1"},
    }
    return {
        "aud": ["steno-operator"],
        "exp": int(time.time()) + 3600,
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:ns:default",
        "kubernetes.io": bound,
        **more,
    }


def token(name: str = "talk-1-x", key: str = KEY, **more: Any) -> str:
    return jwt.encode({each: value for each, value in claims(name, **more).items() if value is not None}, key)


def raw(payload: str) -> str:
    """Return a token with that text as its claims."""
    header, _, signature = token().split(".")
    return f"{header}.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.{signature}"


@dataclass
class Reviews:
    """An API server that answers TokenReviews, and the report endpoint that asks it."""

    asked: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """Tokens that are not valid are answered once this is set."""
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Released for each that waits for it."""
    verifier: TokenVerifier = field(init=False)
    url: str = ""
    now: float = 1000.0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with contextlib.AsyncExitStack() as stack:
            app = web.Application()
            app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
            cluster = Cluster(client.ApiClient(client.Configuration(host=await _serve(stack, app))))
            stack.push_async_callback(cluster.close)
            self.verifier = TokenVerifier(cluster, clock=lambda: self.now)
            state = ClusterState()
            self.url = await _serve(stack, ReportEndpoint(lambda: (state, self.verifier)).app)
            yield await stack.enter_async_context(aiohttp.ClientSession())

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        sent = body["spec"]["token"]
        self.asked.append(sent)
        try:
            valid = jwt.decode(sent, KEY, ["HS256"], audience="steno-operator", options={"verify_exp": False})
        except jwt.PyJWTError:
            if self.hold is not None:
                self.arrived.release()
                await self.hold.wait()
            return web.json_response({**body, "status": {"authenticated": False}})
        pod = valid["kubernetes.io"]["pod"]
        extra = {f"authentication.kubernetes.io/pod-{each}": [pod[each]] for each in ("name", "uid")}
        user = {"username": valid["sub"], "extra": extra}
        status = {"authenticated": True, "audiences": ["steno-operator"], "user": user}
        return web.json_response({**body, "status": status})

    async def post(self, session: aiohttp.ClientSession, credential: str) -> int:
        headers = {"Authorization": f"Bearer {credential}"}
        async with session.post(f"{self.url}/v1/reports", data=b"no report", headers=headers) as answer:
            return answer.status


async def _serve(stack: contextlib.AsyncExitStack, app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.mark.parametrize(
    "credential",
    [
        "nonsense",
        "a.b.c",
        "..",
        token(aud="https://kubernetes.default.svc"),
        token(aud=None),
        token(aud=[7]),
        token(exp=int(time.time()) - 3600),
        token(exp=None),
        token(sub="system:node:a"),
        token(sub="system:serviceaccount:other:default"),
        token(sub=None),
        token(**{"kubernetes.io": None}),
        token(**{"kubernetes.io": "text"}),
        token(**{"kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "default", "uid": "sa1"}}}),
        raw(json.dumps({**claims(), "exp": "soon"})),
        raw(json.dumps(claims()).replace(str(claims()["exp"])[:6], '1e999, "x": 1')),
        raw("[" * 4000),
        raw("[]"),
    ],
    ids=[
        "no token", "three letters", "nothing", "another audience", "no audience", "a number as audience", "expired",
        "no expiry", "a node", "another account", "no subject", "no pod", "text", "an account without a pod",
        "expiry in words", "expiry without end", "deep", "a list",
    ],
)  # fmt: skip
def test_what_is_no_token_of_a_pod_for_us_is_refused_without_asking(credential: str):
    reviews = Reviews()

    async def run() -> int:
        async with reviews.run() as session:
            return await reviews.post(session, credential)

    assert asyncio.run(run()) == 401
    assert reviews.asked == []


def test_clocks_may_differ_a_little():
    reviews = Reviews()

    async def run() -> int:
        async with reviews.run() as session:
            return await reviews.post(session, token(exp=int(time.time()) - 10))

    assert asyncio.run(run()) == 400, "the API server accepts it, and the body is no report"


def test_forgeries_of_one_address_run_out():
    reviews = Reviews()

    async def run() -> list[int]:
        async with reviews.run() as session:
            assert await reviews.post(session, token("early")) == 400
            codes = [await reviews.post(session, token(f"p{each}", key="another's" * 4)) for each in range(50)]
            assert len(reviews.asked) == 1 + REFUSALS
            reviews.now += 61
            assert await reviews.post(session, token("early")) == 400, "it is reviewed again, whatever the address sent"
            codes += [await reviews.post(session, token(f"q{each}", key="another's" * 4)) for each in range(50)]
            assert len(reviews.asked) == 2 + 2 * REFUSALS, "the budget comes back with time"
            return codes

    codes = asyncio.run(run())
    assert codes == 2 * ([401] * REFUSALS + [429] * (50 - REFUSALS))


def test_pods_that_begin_together_at_one_address_are_all_taken():
    reviews = Reviews()

    async def run() -> list[int]:
        async with reviews.run() as session:
            return [await reviews.post(session, token(f"p{each}")) for each in range(3 * REFUSALS)]

    assert asyncio.run(run()) == [400] * (3 * REFUSALS)


def test_a_flood_of_forgeries_delays_no_pod():
    """The API server takes its time over each forgery: they must not hold every place."""

    async def run() -> None:
        reviews = Reviews(hold=asyncio.Event())
        async with reviews.run() as session:
            flood = [
                asyncio.create_task(reviews.verifier.verify(token(f"p{each}", key="another's" * 4), "10.0.0.66"))
                for each in range(100)
            ]
            async with asyncio.timeout(20):
                for _ in range(REFUSALS):
                    await reviews.arrived.acquire()
                assert await reviews.post(session, token()) == 400
            assert reviews.hold is not None
            reviews.hold.set()
            await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(run())


def test_an_api_server_that_fails_costs_nothing_of_the_budget():
    async def run() -> None:
        reviews = Reviews()
        async with reviews.run() as session:
            broken = Cluster(client.ApiClient(client.Configuration(host=f"{reviews.url}/nowhere")))
            working, reviews.verifier = reviews.verifier, TokenVerifier(broken, clock=lambda: reviews.now)
            assert [await reviews.post(session, token(f"p{each}")) for each in range(9)] == [503] * 9
            reviews.verifier = working
            assert await reviews.post(session, token()) == 400
            await broken.close()

    asyncio.run(run())
