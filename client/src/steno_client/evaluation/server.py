"""A server as a recogniser: uploads to `/stt/upload` and `/ocr/process` of a RuntimePool, with a session's token.

Requests are answered when the work is done, because only the server that accepted an upload knows it.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import httpx

from steno_client.errors import EXIT_DENIED, EXIT_FAILED, EXIT_INPUT, EXIT_TEMPORARY, CommandError
from steno_client.evaluation.manifest import Item, Medium
from steno_client.evaluation.recognisers import RecogniserOptions, Recognition, parse_document, readable_file
from steno_client.formatting import strip_control_characters
from steno_client.target import PATH, Target

CONNECT_SECONDS = 10.0
BUSY_SECONDS = 600.0
"""How long a server that is full or not ready is asked again."""
BACKOFF_SECONDS = 2.0
_BUSY = (429, 503)
_EXIT_CODES = {401: EXIT_DENIED, 403: EXIT_DENIED, 429: EXIT_TEMPORARY, 502: EXIT_TEMPORARY, 503: EXIT_TEMPORARY}


class PoolServer:
    """A server of a RuntimePool. A context manager."""

    def __init__(self, target: Target, options: RecogniserOptions) -> None:
        headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._url = upload_url(target)
        verify = target.tls_context() or True  # of httpx itself: its own list of CAs, not the system's
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=timeout, verify=verify)
        self._extensions = {} if target.server_name is None else {"sni_hostname": target.server_name}
        self._options = options
        self._model = ""
        self.load_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    @property
    def description(self) -> str:
        """See `Recogniser`."""
        return f"{self._url}{self._model}"

    def check(self) -> None:
        """Ask the server for its model, which shows that it answers and accepts the token.

        Raises:
            CommandError: it does not.
        """
        status = self._send("GET", "/stt/status").json()
        self._model = f": {strip_control_characters(str(status.get('model', 'unknown model')))}"

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`; the time is that of the server, without the upload and the wait in its queue."""
        languages = self._options.languages_of(item)
        if item.medium is Medium.RECORDING:
            path = "/stt/upload"
            fields = {
                "meeting_id": item.id,
                "language": languages[0] if len(languages) == 1 else "auto",
                "languages": ",".join(languages) if len(languages) > 1 else "",
                "diarize": str(self._options.diarizes(item)).lower(),
            }
        else:
            path, fields = "/ocr/process", {"document_id": item.id, "languages": ",".join(languages)}
        response = self._upload(path, item, fields)
        try:
            return parse_document(response.content)
        except ValueError as error:
            message = f"{self._url}{path} answered with something that is not a document: is it a server of Steno?"
            raise CommandError(message, EXIT_FAILED) from error

    def _upload(self, path: str, item: Item, fields: dict[str, str]) -> httpx.Response:
        """Upload an item, again and again while the server is busy."""
        deadline = time.monotonic() + BUSY_SECONDS
        with readable_file(item) as file:
            while True:
                with file.open("rb") as content:
                    response = self._send("POST", path, data=fields, files={"file": (file.name, content)}, check=False)
                if response.status_code not in _BUSY or time.monotonic() > deadline:
                    break
                time.sleep(_retry_after(response))
        _check(response)
        return response

    def _send(self, method: str, path: str, *, check: bool = True, **request: object) -> httpx.Response:
        try:
            response = self._client.request(method, path, extensions=self._extensions, **request)  # pyright: ignore[reportArgumentType]
        except httpx.HTTPError as error:
            reason = strip_control_characters(str(error)) or type(error).__name__
            message = f"{self._url} does not answer ({reason}): is the port forwarded?"
            raise CommandError(message, EXIT_TEMPORARY) from error
        if check:
            _check(response)
        return response


def upload_url(target: Target) -> str:
    """Return the base URL of the REST endpoints beside a WebSocket endpoint."""
    parts = urlsplit(target.url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix(PATH).rstrip("/"), "", ""))


def _check(response: httpx.Response) -> None:
    """Turn a problem document into an error."""
    if response.is_success:
        return
    code, detail = str(response.status_code), response.reason_phrase
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        pass
    message = strip_control_characters(f"{code}: {detail}")[:400]
    raise CommandError(message, _EXIT_CODES.get(response.status_code, EXIT_INPUT))


def _retry_after(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return min(30.0, float(given)) if given.isdigit() else BACKOFF_SECONDS
