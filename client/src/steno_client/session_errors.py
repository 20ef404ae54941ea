"""Session errors: close codes, HTTP statuses and end reasons as one line with a remedy and an exit code. Pure.

What happened before `session_started` was not charged to the session, so it can be tried again; a session that had
started has ended, so the remedy is another StreamSession.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steno_api.server.session_end import SessionEnd
from steno_client.errors import (
    EXIT_DENIED,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_INTERNAL,
    EXIT_TEMPORARY,
    CommandError,
)
from steno_client.formatting import strip_control_characters
from steno_client.target import Target

_CREATE_ANOTHER = "create another StreamSession"
_CREATE_FOR_REST = f"the final text so far was printed; {_CREATE_ANOTHER} for the rest"
_TOKEN = "read the token again from the session's Secret (`--session NAME` does), or set STENO_TOKEN"  # noqa: S105

ABNORMAL_CLOSURE = 1006
"""The code of a connection that ended without a close frame (RFC 6455)."""
_UNSPECIFIC = (1000, 1001, 1005, ABNORMAL_CLOSURE)
"""Close codes that explain nothing: the messages before them do."""


@dataclass(frozen=True)
class Explanation:
    """What happened, what to do, and the exit code."""

    meaning: str
    remedy: str
    exit_code: int


_INVALID_MESSAGE = Explanation("the server could not parse a message", "update steno-client", EXIT_INTERNAL)
_TOO_LARGE = Explanation("a message was too large for the server", "update steno-client", EXIT_INTERNAL)

BEFORE_START: dict[int, Explanation] = {
    1007: _INVALID_MESSAGE,
    1009: _TOO_LARGE,
    1011: Explanation("the server failed", "see its log, and try again", EXIT_TEMPORARY),
    1012: Explanation("the server is stopping", "try again, another server takes over", EXIT_TEMPORARY),
    1013: Explanation(
        "the server is full, or not ready yet",
        "try again later, or raise the RuntimePool's maxReplicas",
        EXIT_TEMPORARY,
    ),
    4001: Explanation("the token is missing, wrong or expired", _TOKEN, EXIT_DENIED),
    4003: Explanation("the token belongs to another tenant or session", "use the token of this session", EXIT_DENIED),
    4008: Explanation("the server did not receive start_session in time", "try again", EXIT_TEMPORARY),
    4009: Explanation("another client uses this session, or it has ended", _CREATE_ANOTHER, EXIT_FAILED),
}
"""Close codes before the session started."""

AFTER_START: dict[int, Explanation] = {
    1007: _INVALID_MESSAGE,
    1009: _TOO_LARGE,
    1011: Explanation("the server failed, which ended the session", f"see its log; {_CREATE_FOR_REST}", EXIT_FAILED),
    1012: Explanation("the server had to stop, which ended the session", _CREATE_FOR_REST, EXIT_FAILED),
    4008: Explanation(
        "the session reached a time limit",
        f"{_CREATE_ANOTHER} with a longer maxDurationSeconds or idleTimeoutSeconds",
        EXIT_FAILED,
    ),
    4009: Explanation("the session was deleted, or is connected to another server", _CREATE_ANOTHER, EXIT_FAILED),
}
"""Close codes after the session started."""

BY_CODE: dict[str, Explanation] = {
    "LanguageUnknown": Explanation(
        "the model does not support the language", "give another with --language, or auto", EXIT_INPUT
    ),
    "TokenRevoked": Explanation("the token was revoked", _CREATE_ANOTHER, EXIT_DENIED),
}
"""Error codes that are more precise than the close code that comes with them."""

_CLOSE_CODE_OF_STATUS = {401: 4001, 403: 4003, 409: 4009, 429: 1013, 503: 1013}
"""HTTP status of a refused handshake to the close code of the same meaning."""


@dataclass(frozen=True)
class ConnectionEnd:
    """What is known once a connection has ended.

    Attributes:
        code: the server's close code, or `ABNORMAL_CLOSURE`.
        text: the reason in its close frame.
        started: whether the session had started.
        sent_all: whether all audio and `end_session` were sent.
        session_ended: the message `session_ended`, if one came.
        fatal_error: the fatal message `error`, if one came.
    """

    code: int
    text: str = ""
    started: bool = False
    sent_all: bool = False
    session_ended: Mapping[str, Any] | None = None
    fatal_error: Mapping[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Return why the session ended (a `SessionEnd`); empty if `session_ended` does not say."""
        return str((self.session_ended or {}).get("reason") or "")

    @property
    def publish_failure(self) -> str:
        """Return why publishing failed, as `<reason>: <message>`; empty if it did not fail."""
        failure = (self.session_ended or {}).get("failure")
        if not isinstance(failure, Mapping):
            return ""
        return ": ".join(str(part) for part in (failure.get("reason"), failure.get("message")) if part)


def error_for_end(end: ConnectionEnd, target: Target) -> CommandError | None:
    """Return the error that the end of a connection means; None if the session ended normally."""
    fatal = end.fatal_error or {}
    text = str(fatal.get("message") or end.text)
    # If the server itself failed (code 1011) it says so twice: as an error, and as the reason for not publishing.
    unpublished = (
        f"the transcript was not published: {end.publish_failure}" if end.publish_failure and not fatal else ""
    )
    explanation = _explain(end, str(fatal.get("code") or end.text))
    if explanation is not None:
        return _error(explanation, end.reason, text, unpublished)
    if fatal or end.code not in _UNSPECIFIC:
        return CommandError(
            f"the server ended the session ({end.code}): {strip_control_characters(text) or 'no reason given'}",
            EXIT_FAILED,
        )
    if end.session_ended is None:
        return _error_for_lost_connection(target, started=end.started)
    if not end.sent_all or end.reason not in ("", SessionEnd.CLIENT_ENDED):
        early = Explanation("the session ended before the audio did", _CREATE_FOR_REST, EXIT_FAILED)
        return _error(early, end.reason, unpublished)
    if end.publish_failure:
        remedy = f"its text was printed; check spec.output, and {_CREATE_ANOTHER} to publish it"
        return _error(Explanation("the transcript was not published", remedy, EXIT_FAILED), end.publish_failure)
    return None


def _explain(end: ConnectionEnd, code: str) -> Explanation | None:
    """Return the explanation of an error code, else that of the close code."""
    if (explanation := BY_CODE.get(code)) is not None:
        return explanation
    return AFTER_START.get(end.code, BEFORE_START.get(end.code)) if end.started else BEFORE_START.get(end.code)


def _error(explanation: Explanation, *details: str) -> CommandError:
    text = strip_control_characters("; ".join(part for part in details if part))
    return CommandError(
        f"{explanation.meaning}{f' ({text})' if text else ''}: {explanation.remedy}", explanation.exit_code
    )


def _error_for_lost_connection(target: Target, *, started: bool) -> CommandError:
    """Return the error for a connection that was lost.

    A server that loses its client ends the session; a server that was itself lost leaves a session that can go on.
    """
    if not started:
        return CommandError(
            f"the connection to {target.server} was lost before the session started: see the server's log, and try "
            "again",
            EXIT_TEMPORARY,
        )
    namespace, _, name = strip_control_characters(target.session or "").rpartition("/")
    status = f"steno status ss/{name or 'NAME'}" + (f" -n {namespace}" if namespace else "")
    return CommandError(
        f"the connection to {target.server} was lost: the final text so far was printed; run `{status}`: if the "
        f"session is Ready again (its server was lost), stream the rest to it; if it has ended, {_CREATE_ANOTHER} for "
        "the rest",
        EXIT_TEMPORARY,
    )


def error_for_handshake(status: int, body: bytes, target: Target) -> CommandError:
    """Return the error for an HTTP response in place of a WebSocket.

    Args:
        status: its status code.
        body: its body, which is problem+json if it is from Steno.
        target: the endpoint that was connected to.
    """
    try:
        problem = json.loads(body)
        text, code = str(problem.get("detail") or problem.get("title") or ""), str(problem.get("code") or "")
    except (ValueError, AttributeError):
        text = code = ""
    explanation = BY_CODE.get(code, BEFORE_START.get(_CLOSE_CODE_OF_STATUS.get(status, 0)))
    if explanation is not None:
        return _error(explanation, text)
    if status == 404:
        return CommandError(f"{target.server} has no such path: is it a server of Steno? Check the URL", EXIT_INPUT)
    why = f"HTTP {status}" + (f": {strip_control_characters(text)}" if text else "")
    return CommandError(f"{target.server} refused the connection ({why}): check the URL, or try again", EXIT_TEMPORARY)


def error_for_certificate(target: Target, why: str) -> CommandError:
    """Return the error for a server whose certificate is not trusted.

    Args:
        target: the endpoint that was connected to.
        why: the words of OpenSSL.
    """
    trust = "the CA in --ca-file is not its issuer" if target.ca_file else "give the CA that issued it with --ca-file"
    return CommandError(
        f"the certificate of {target.server} is not accepted ({strip_control_characters(why)}): {trust}, or it is for "
        "another host",
        EXIT_DENIED,
    )


def error_for_unreachable(target: Target) -> CommandError:
    """Return the error for a server that does not answer; cluster-internal names have a remedy of their own."""
    host = target.server.rpartition("//")[2].partition(":")[0].split(".")
    if len(host) >= 3 and host[2] == "svc":
        scheme = target.server.partition(":")[0]
        return CommandError(
            f"{target.server} is an address inside the cluster: run `kubectl -n {host[1]} port-forward svc/{host[0]} "
            f"8080` and add --url {scheme}://127.0.0.1:8080, or set the RuntimePool's spec.endpoints",
            EXIT_TEMPORARY,
        )
    plain = " (wss:// for a server with TLS)" if target.server.startswith("ws:") else ""
    return CommandError(f"{target.server} does not answer: check the URL{plain}, or forward its port", EXIT_TEMPORARY)
