"""Stream target: the WebSocket URL of a session, the bearer token to send, and how its server is verified."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from steno_client.errors import EXIT_INPUT, CommandError

PATH = "/stt/realtime"


@dataclass(frozen=True)
class ServerOverride:
    """What the command line says of a session's server.

    Attributes:
        url: address to use instead of the published endpoint, such as that of a forwarded port.
        ca_file: CA certificates to verify it with.
    """

    url: str | None = None
    ca_file: Path | None = None


@dataclass(frozen=True)
class Target:
    """A session's endpoint."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """CA certificates (PEM) that the server's certificate is verified with; None: those of the system."""
    server_name: str | None = None
    """Name that the certificate has to be for; None: the host of the URL."""

    @property
    def session(self) -> str | None:
        """Return `<namespace>/<name>` of the session, or None if the URL does not name it."""
        return (parse_qs(urlsplit(self.url).query).get("session") or [None])[0]

    @property
    def server(self) -> str:
        """Return scheme, host and port, for error messages."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Return how the server is verified; None for a URL in plain text.

        Raises:
            CommandError: the CA file cannot be read.
        """
        if urlsplit(self.url).scheme != "wss":
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            message = f"{self.ca_file} has no CA certificates (PEM) that can be read: {type(error).__name__}"
            raise CommandError(message, EXIT_INPUT) from error


def complete_url(url: str, session: str | None = None) -> str:
    """Return a complete WebSocket URL: the path and the session are added if they are missing.

    Raises:
        CommandError: it is not a WebSocket URL.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises if the port is not a number
    except ValueError as error:
        raise CommandError(f"{url} is not a URL: give one such as ws://host:8080", EXIT_INPUT) from error
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise CommandError(f"{url} is not a WebSocket URL: give one such as ws://host:8080", EXIT_INPUT)
    query = parts.query or (f"session={quote(session)}" if session else "")
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path.strip("/") else PATH, query, ""))


def forwarded_server_name(url: str, published: str) -> str | None:
    """Return whose certificate is expected at `url`: a forwarded port of this machine leads to the published endpoint.

    Args:
        url: where the client connects.
        published: the session's endpoint.
    """
    parts = urlsplit(url)
    forwarded = parts.scheme == "wss" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return urlsplit(published).hostname if forwarded else None


def read_token(token: str | None, file: Path | None) -> str | None:
    """Return the token given by value or by file; the file takes precedence.

    Raises:
        CommandError: the file cannot be read or is empty.
    """
    if file is None:
        return token or None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"the token cannot be read from {file}: {type(error).__name__}", EXIT_INPUT) from error
    if not found:
        raise CommandError(f"{file} is empty: it should contain the session's token", EXIT_INPUT)
    return found
