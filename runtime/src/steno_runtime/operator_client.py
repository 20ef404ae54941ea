"""HTTP client of the operator's report endpoints, with a blocking and an asyncio face.

Best effort: a report that is lost costs progress until the next one, and never raises. Each loss is logged, unless it
is for the same cause as the one before.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import ValidationError

from steno_api.model import Model
from steno_api.worker.task import TaskReporting

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 1024 * 1024

Answer = TypeVar("Answer", bound=Model)


class _AnswerTooLongError(Exception):
    """The operator's answer has more than `MAX_ANSWER_BYTES`."""


class _ReportEndpoint:
    """What both faces share: the request, and how a loss is logged."""

    def __init__(self, reporting: TaskReporting, path: str) -> None:
        """Prepare requests.

        Args:
            reporting: the operator's address, and the file with the token of this pod.
            path: of the endpoint.
        """
        self._url = reporting.url.rstrip("/") + path
        self._token_file = Path(reporting.token_file)
        self._last_loss = ""
        self._verify = ssl.create_default_context(cadata=reporting.ca)

    def _headers(self) -> dict[str, str]:
        # Kubernetes replaces the token while we run, so it is read each time.
        token = self._token_file.read_text(encoding="ascii").strip()
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def _log_loss(self, loss: str) -> None:
        if loss and loss != self._last_loss:
            log.warning("a report was lost", extra={"why": loss})
        self._last_loss = loss


class OperatorClient(_ReportEndpoint):
    """Posts reports from a thread."""

    def __init__(self, reporting: TaskReporting, path: str) -> None:
        """See `_ReportEndpoint`."""
        super().__init__(reporting, path)
        # A proxy of the environment is meant for sources outside the cluster, not for the operator.
        self._client = httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS, verify=self._verify)

    def post(self, report: Model) -> bool:
        """Post a report; return whether the operator took it."""
        loss = ""
        try:
            with self._client.stream("POST", self._url, content=report.to_json(), headers=self._headers()) as response:
                response.raise_for_status()
        except Exception as error:  # noqa: BLE001  (a lost report costs progress, nothing else)
            loss = _describe(error)
        self._log_loss(loss)
        return not loss

    def ask(self, request: Model, answer: type[Answer]) -> tuple[int, Answer | None]:
        """Post a request.

        Args:
            request: what to post.
            answer: the model of the operator's answer.

        Returns:
            The HTTP status, 0 if there was none; and the answer, None if the request was lost or refused.
        """
        loss, status, parsed = "", 0, None
        try:
            with self._client.stream("POST", self._url, content=request.to_json(), headers=self._headers()) as response:
                status = response.status_code
                response.raise_for_status()
                body = b""
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _AnswerTooLongError  # noqa: TRY301 - logged as any other loss
            parsed = answer.model_validate_json(body)
        except Exception as error:  # noqa: BLE001  (the caller asks again, or says what follows)
            loss = _describe(error)
        self._log_loss(loss)
        return status, parsed

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncOperatorClient(_ReportEndpoint):
    """Posts reports from an event loop, and parses the answers."""

    def __init__(self, reporting: TaskReporting, path: str) -> None:
        """See `_ReportEndpoint`."""
        super().__init__(reporting, path)
        self._client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, verify=self._verify)

    async def post(self, report: Model, answer: type[Answer]) -> Answer | None:
        """Post a report.

        Args:
            report: what to post.
            answer: the model of the operator's answer.

        Returns:
            The answer; None if the report was lost.
        """
        loss, parsed = "", None
        try:
            parsed = answer.model_validate_json(await self._exchange(report.to_json()))
        except Exception as error:  # noqa: BLE001  (the next report makes up for a lost one)
            loss = _describe(error)
        self._log_loss(loss)
        return parsed

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _exchange(self, content: str) -> bytes:
        headers = await asyncio.to_thread(self._headers)
        async with self._client.stream("POST", self._url, content=content, headers=headers) as response:
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise _AnswerTooLongError
        return body


def _describe(error: Exception) -> str:
    """Return why a report was lost; without an error's text where that may quote the token."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"the operator answered {error.response.status_code}"
    if isinstance(error, ValidationError):
        return "the operator's answer is not one that this version understands"
    if isinstance(error, _AnswerTooLongError):
        return f"the operator's answer has more than {MAX_ANSWER_BYTES} bytes"
    if isinstance(error, httpx.ConnectError | OSError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
