"""Web sources, through httpx: redirects are followed by hand, so that none gets credentials.

The address of each connection, also after a redirect, is checked by `Egress`.
"""

from __future__ import annotations

import base64
import contextlib
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.client import responses
from typing import Any

import httpcore
import httpx

from steno_api.credentials import HTTP_PASSWORD, HTTP_TOKEN, HTTP_USERNAME, CredentialScope
from steno_api.egress import DENIED, Egress, ForbiddenAddress, environment_proxy
from steno_api.failures import FailureReason
from steno_api.worker.task import EgressRules, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage.common import Unavailable, redact
from steno_runtime.storage.credentials import outside_scope, read_credentials, scope_of
from steno_runtime.storage.download import Body
from steno_runtime.storage.egress import egress_of

MAX_REDIRECTS = 5
PIECE_BYTES = 1024 * 1024
"""Of a compressed body, inflated at a time."""
CONNECT_SECONDS = 10.0
TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_SECONDS)
HEAD_SECONDS = 60.0
"""For the head of an answer, each byte of which begins the time limit of a read anew."""
_REDIRECTS = (301, 302, 303, 307, 308)
_RETRYABLE = (408, 425, 429)
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15
"""What zlib calls the formats. That of `deflate` is zlib's by the standard, and the bare one of some servers."""
_ENCODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class WebSource:
    """One file on a web server. Credentials go to the host that the user named, never to where it redirects."""

    def __init__(
        self,
        source: TaskSource,
        egress: EgressRules,
        allowed: Callable[[str], bool] | None = None,
        *,
        shown: str | None = None,
    ) -> None:
        """Prepare requests.

        Args:
            source: where the file is.
            egress: networks that it may be on.
            allowed: whether a redirect may be followed; None: all may be.
            shown: what messages have in place of a URL that is a secret.
        """
        self._egress = egress_of(egress)
        self._allowed = allowed
        self.display_uri = shown or redact(source.uri)
        self._field = "source.uriSecretRef" if shown else "source.uri"
        try:
            self._url = httpx.URL(source.uri)
        except httpx.InvalidURL as error:
            raise self._invalid("it is not a valid URL") from error
        credentials = read_credentials(source.credentials_dir)
        self._scope: CredentialScope | None = None  # credentials within the URL are for that URL
        if source.credentials_dir is not None:
            self._scope = scope_of(credentials, "source")
            if why := self._scope.refuse_url(source.uri):
                raise outside_scope("source", self.display_uri, why)
        self._authorization = _authorization(credentials, self._url)
        self._url = self._url.copy_with(username=None, password=None)
        self._validator: str | None = None

    @contextlib.contextmanager
    def open(self, offset: int) -> Iterator[Body]:
        """See `RemoteFile`."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "steno-worker"}
        if offset and self._validator:
            headers |= {"Range": f"bytes={offset}-", "If-Range": self._validator}
        try:
            with (
                httpx.Client(
                    transport=_EgressTransport(self._egress), timeout=TIMEOUT, follow_redirects=False
                ) as client,
                self._follow(client, headers) as response,
            ):
                yield self._body(response)
        except ForbiddenAddress as error:
            raise WorkError(
                FailureReason.SOURCE_FORBIDDEN,
                f"{self.display_uri} leads to an address that is {DENIED}. If a source may be there, have its network "
                "allowed (egress.allowedNetworks of the chart).",
            ) from error
        except httpx.InvalidURL as error:
            raise self._invalid("the server redirects to something that is not a URL") from error
        except UnicodeError as error:  # of the resolver: a label is empty, or too long
            raise self._invalid("the name of its host, or of one that it redirects to, is not a host name") from error
        except httpx.TransportError as error:
            raise self._translate(error) from error

    @contextlib.contextmanager
    def _follow(self, client: httpx.Client, headers: dict[str, str]) -> Iterator[httpx.Response]:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            self._refuse(url)
            secret = {"Authorization": self._authorization} if self._authorization and self._is_for(url) else {}
            with client.stream("GET", url, headers=headers | secret) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("location")
            if not location:
                raise self._invalid(f"the server answered {response.status_code} without a location")
            url = url.join(location)
        raise self._invalid(f"the server redirects more than {MAX_REDIRECTS} times")

    def _is_for(self, url: httpx.URL) -> bool:
        """Tell whether the credentials are for a URL: that of the source, or one of its origin and of their scope."""
        same_origin = (url.scheme, url.host, url.port) == (self._url.scheme, self._url.host, self._url.port)
        return same_origin and (self._scope is None or not self._scope.refuse_url(str(url)))

    def _body(self, response: httpx.Response) -> Body:
        status = response.status_code
        if status == HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
            if found is None:
                raise self._invalid("the server answered with a part that was not requested")
            total = None if found.group(2) == "*" else int(found.group(2))
            return Body(offset=int(found.group(1)), total=total, chunks=response.iter_raw())
        if status != HTTPStatus.OK:
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._validator = None  # the next try starts from the beginning
            raise self._refused(response)
        headers = response.headers
        etag = headers.get("etag", "")
        # Only a strong validator makes sure that the parts are of one and the same file.
        self._validator = etag if etag.startswith('"') else headers.get("last-modified")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding in _ENCODINGS:  # although it was not requested
            self._validator = None
            return Body(offset=0, total=None, chunks=_inflated(response, encoding))
        if encoding != "identity":
            raise self._invalid("the server compresses it, although that was not requested, and not by gzip or deflate")
        length = headers.get("content-length", "")
        total = int(length) if length.isdigit() else None
        return Body(offset=0, total=total, chunks=response.iter_raw())

    def _refused(self, response: httpx.Response) -> Exception:
        status = response.status_code
        answered = f"{status} {responses.get(status, '')}".strip()  # not the server's own words for it
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return WorkError(
                FailureReason.SOURCE_NOT_FOUND,
                f"{self.display_uri} was not found: the server answered {answered}. Check {self._field}.",
            )
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
            remedy = (
                "Check the credentials in the Secret of source.secretRef."
                if self._authorization
                else "If the URL in the Secret of source.uriSecretRef is a signed one, it may have expired."
                if self._field != "source.uri"
                else f"Set source.secretRef to a Secret with the keys allowedPrefix and {HTTP_TOKEN}, or "
                f"{HTTP_USERNAME} and {HTTP_PASSWORD}; if the URL is a signed one, it may have expired."
            )
            return WorkError(
                FailureReason.SOURCE_FORBIDDEN,
                f"Reading {self.display_uri} is not allowed: the server answered {answered}. {remedy}",
            )
        if status >= 500 or status in (*_RETRYABLE, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            return Unavailable(f"the server answered {answered}")
        return self._invalid(f"the server answered {answered}, not 200 OK")

    def _refuse(self, url: httpx.URL) -> None:
        if url.scheme not in ("http", "https") or not url.host:
            raise self._invalid("the server redirects to something that is neither http nor https")
        if self._allowed is not None and url != self._url and not self._allowed(str(url)):
            raise WorkError(
                FailureReason.SOURCE_FORBIDDEN,
                f"{self.display_uri} redirects to a URL that is not among the allowed sources.",
            )

    def _invalid(self, why: str) -> WorkError:
        return WorkError(
            FailureReason.INVALID_SPEC, f"{self.display_uri} cannot be read: {why}. Correct {self._field}."
        )

    def _translate(self, error: httpx.TransportError) -> Exception:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return WorkError(
                    FailureReason.SOURCE_UNAVAILABLE,
                    f"{self.display_uri} could not be read: the server's certificate is not trusted "
                    f"({cause.verify_message}). Use a certificate of a public authority, or add yours to the image.",
                )
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.ConnectTimeout):
            return Unavailable("no connection within 10 s")
        if isinstance(error, httpx.TimeoutException):
            return Unavailable("the server did not answer in time")
        if isinstance(error, httpx.ConnectError):
            return Unavailable("no connection to the server")
        return Unavailable("the connection broke")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads end when the backend says, whatever was read before."""

    def __init__(self, stream: httpcore.NetworkStream, backend: _EgressBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See `httpcore.NetworkStream`."""
        if (until := self._backend.read_until) is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise httpcore.ReadTimeout
            timeout = left if timeout is None else min(timeout, left)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See `httpcore.NetworkStream`."""
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """See `httpcore.NetworkStream`."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkStream`."""
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._backend)

    def get_extra_info(self, info: str) -> Any:
        """See `httpcore.NetworkStream`."""
        return self._stream.get_extra_info(info)


class _EgressBackend(httpcore.SyncBackend):
    """Resolves a name once, and connects to what `Egress` permits of it; certificates are still the name's."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self.read_until: float | None = None
        """When reads end, by the monotonic clock."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkBackend`."""

        def dial(address: str, seconds: float) -> httpcore.NetworkStream:
            connect = super(_EgressBackend, self).connect_tcp
            return _TimedStream(connect(address, port, seconds, local_address, socket_options), self)

        try:
            return self._egress.connect(host, port, timeout or CONNECT_SECONDS, dial)
        except OSError as error:  # of the resolver
            raise httpcore.ConnectError(str(error)) from error


class _DirectTransport(httpx.HTTPTransport):
    """httpx's own transport, with another network backend, which it has no argument for."""

    def __init__(self, egress: Egress, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._backend = _EgressBackend(egress)
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=self._backend)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`: it returns once the head of the answer is there."""
        self._backend.read_until = time.monotonic() + HEAD_SECONDS
        try:
            return super().handle_request(request)
        finally:
            self._backend.read_until = None


class _EgressTransport(httpx.BaseTransport):
    """Connects to permitted addresses, or through the proxy that the environment names for a host."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._context = httpx.create_ssl_context()
        self._direct = _DirectTransport(egress, self._context)
        self._proxied: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`."""
        host = request.url.raw_host.decode("ascii")
        proxy = environment_proxy(request.url.scheme, host)
        if proxy is None:
            return self._direct.handle_request(request)
        self._egress.check_proxied(host)
        if proxy not in self._proxied:
            self._proxied[proxy] = httpx.HTTPTransport(verify=self._context, proxy=proxy)
        return self._proxied[proxy].handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        for transport in (self._direct, *self._proxied.values()):
            transport.close()


def _inflated(response: httpx.Response, encoding: str) -> Iterator[bytes]:
    """Yield what a compressed body holds, a bounded piece at a time: each of its bytes may stand for a thousand."""
    inflater, began = zlib.decompressobj(_ENCODINGS[encoding]), False
    try:
        for received in response.iter_raw():
            data = received
            while data:
                try:
                    piece = inflater.decompress(data, PIECE_BYTES)
                except zlib.error:
                    if began or encoding != "deflate":
                        raise
                    inflater = zlib.decompressobj(_DEFLATE)
                    piece = inflater.decompress(data, PIECE_BYTES)
                began = True
                yield piece
                data = inflater.unused_data.lstrip(b"\0") if inflater.eof else inflater.unconsumed_tail
                if inflater.eof and encoding == "deflate":
                    return
                if inflater.eof and data:  # gzip has any number of members
                    inflater = zlib.decompressobj(_GZIP)
    except zlib.error as error:
        raise Unavailable(f"the body is not {encoding}, although its Content-Encoding says so") from error
    if not inflater.eof:
        raise Unavailable(f"the body ends in the middle of its {encoding} data")


def _authorization(credentials: dict[str, str], url: httpx.URL) -> str | None:
    if token := credentials.get(HTTP_TOKEN):
        if not (token.isascii() and token.isprintable()):
            raise WorkError(
                FailureReason.SOURCE_FORBIDDEN,
                "The token in the Secret of source.secretRef cannot be sent: it has a line break, or a character "
                "beyond ASCII. Put the token alone there.",
            )
        return f"Bearer {token}"
    username = credentials.get(HTTP_USERNAME, url.username)
    password = credentials.get(HTTP_PASSWORD, url.password)
    if username or password:
        return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    return None
