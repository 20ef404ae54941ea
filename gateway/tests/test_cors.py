"""What browsers are told of other origins."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from steno_gateway.transports.cors import allow_cors

PAGE = "https://app.example.com"


def client(*origins: str) -> httpx.AsyncClient:
    app = FastAPI()
    allow_cors(app, origins)

    @app.post("/stt/upload")
    async def upload() -> str:
        return "done"

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


def preflight(origin: str, header: str = "authorization") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": header}


async def test_a_page_of_an_origin_that_is_allowed():
    async with client(PAGE) as http:
        answer = await http.options("/stt/upload", headers=preflight(PAGE))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        answer = await http.post("/stt/upload", headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "RateLimit-Remaining" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [(), (PAGE,)])
async def test_a_page_of_another_origin(origins: tuple[str, ...]):
    async with client(*origins) as http:
        answer = await http.options("/stt/upload", headers=preflight("https://elsewhere.example.com"))
        assert answer.status_code in (400, 405)
        answer = await http.post("/stt/upload", headers={"Origin": "https://elsewhere.example.com"})
        assert "access-control-allow-origin" not in answer.headers


async def test_a_header_that_nothing_reads():
    async with client(PAGE) as http:
        assert (await http.options("/stt/upload", headers=preflight(PAGE, "x-other"))).status_code == 400


async def test_a_page_may_send_a_resumable_upload():
    async with client(PAGE) as http:
        asked = preflight(PAGE, "tus-resumable,upload-offset,content-type") | {"Access-Control-Request-Method": "PATCH"}
        assert (await http.options("/stt/upload", headers=asked)).status_code == 200
        shown = (await http.post("/stt/upload", headers={"Origin": PAGE})).headers["access-control-expose-headers"]
        assert {"Upload-Offset", "Location", "Tus-Resumable"} <= set(shown.split(", "))
