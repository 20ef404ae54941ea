"""Requests of webhooks: one POST to a stranger's URL, signed as Standard Webhooks says.

The address that is connected to decides whether it may be (`steno_api.egress`); a redirect is an answer like any other
that is not 2xx, and nothing of an answer is read but its status.
"""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook
from yarl import URL

from steno_api.egress import Egress, ForbiddenAddress, environment_proxy
from steno_gateway.settings import Settings

if TYPE_CHECKING:
    from steno_gateway.work.webhook_records import WebhookRecord

_USER_AGENT = f"steno-gateway/{version('steno-gateway')}"


class WebhookRequests:
    """Sends messages, each over a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._egress = Egress(settings.egress)
        self._limit = aiohttp.ClientTimeout(total=settings.webhooks.timeout_seconds)
        self._seconds = settings.webhooks.timeout_seconds

    async def post(self, record: WebhookRecord, body: str, secret: str) -> int | str:
        """Send a message once; return the status of the answer, or in a word why there is none.

        Args:
            record: which message, and where it goes.
            body: of the request.
            secret: it is signed with.
        """
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            "webhook-id": record.message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(record.message, now, body),
        }
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(URL(record.url), headers, body)
        except ForbiddenAddress:
            return "forbidden"
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError, ValueError):  # ValueError: no URL or host name after all
            return "unreachable"

    async def _send(self, url: URL, headers: dict[str, str], body: str) -> int:
        host, port = url.raw_host or "", url.port or 443
        proxy = environment_proxy(url.scheme, host)
        if proxy is not None:
            await asyncio.to_thread(self._egress.check_proxied, host)
            resolver = None
        else:
            resolver = _Known(await asyncio.to_thread(self._egress.resolve, host, port))
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=self._limit, trust_env=False) as session,
            session.post(url, data=body.encode(), headers=headers, proxy=proxy, allow_redirects=False) as answer,
        ):
            return answer.status


class _Known(AbstractResolver):
    """Addresses that were found to be permitted; a host that is an address itself is one of them."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return them."""
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Close nothing."""
