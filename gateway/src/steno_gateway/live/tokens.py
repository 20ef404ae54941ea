"""Client of the operator's report endpoint: tokens of the sessions that this gateway created.

The gateway's own token and the operator's CA are files that Kubernetes replaces, so both are read each time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from steno_api.gateway.session_tokens import SESSION_TOKEN_PATH, SessionToken, SessionTokenRequest
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.answers import AnswerTooLargeError, read_answer
from steno_gateway.settings import OperatorSettings

log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_MAX_ANSWER_BYTES = 64 * 1024
_CONFLICT = 409


class NotReadyYetError(Exception):
    """The operator does not consider the session ready, or not any more."""


class OperatorTokens:
    """Asks for tokens."""

    def __init__(self, settings: OperatorSettings) -> None:
        """Connect to nothing yet.

        Args:
            settings: where the operator is.
        """
        self._settings = settings

    async def get(self, request: SessionTokenRequest) -> SessionToken:
        """Return a token of a session.

        Raises:
            NotReadyYetError: see there.
            ApiError: `NotReady`: there is no answer, or a refusal, which the log explains.
        """
        try:
            headers, context = await asyncio.to_thread(self._credentials)
            # What the environment says of proxies is meant for other networks than the cluster's.
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session,
                session.post(
                    self._settings.url.rstrip("/") + SESSION_TOKEN_PATH,
                    data=request.to_json(),
                    headers=headers,
                    ssl=context,
                    allow_redirects=False,
                ) as response,
            ):
                body = await read_answer(response, _MAX_ANSWER_BYTES)
                if response.status == _CONFLICT:
                    raise NotReadyYetError
                response.raise_for_status()
                return SessionToken.model_validate_json(body)
        except (aiohttp.ClientError, AnswerTooLargeError, TimeoutError, OSError, ValidationError) as error:
            # Of an answer that cannot be read the text may quote the token.
            why = type(error).__name__ if isinstance(error, ValidationError) else str(error) or type(error).__name__
            log.warning("the operator gives no token of a session: %s", why, extra={"session": request.name})
            message = "The session's token cannot be had now. Try again later."
            raise ApiError(ErrorCode.NOT_READY, message, retry_after=5) from None

    def _credentials(self) -> tuple[dict[str, str], ssl.SSLContext]:
        settings = self._settings
        token = settings.token_file.read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return headers, tls_context(settings.ca_file)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return how a server is verified: with these CAs, if the file is there, else with the system's."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None and ca_file.exists() else None)
