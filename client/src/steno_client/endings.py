"""Every way a session's connection can end, and the one line for each: pure."""

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
from steno_client.session import Target
from steno_client.show import plain

_AGAIN = "create another StreamSession"
_REST = f"what was final is printed; {_AGAIN} for the rest"
_TOKEN = "read the token anew from the session's Secret (`--session NAME` does), or set STENO_TOKEN"  # noqa: S105

BROKEN = 1006
"""Stands for a connection that ended without a close code."""
_ORDERLY = (1000, 1001, 1005, BROKEN)
"""Close codes that say nothing: what was said before counts."""


@dataclass(frozen=True)
class Line:
    """What happened, what to do, and the exit code."""

    meaning: str
    remedy: str
    exit_code: int


_UNREAD = Line("the server could not read what was sent", "update steno-client", EXIT_INTERNAL)
_TOO_LARGE = Line("a message was too large for the server", "update steno-client", EXIT_INTERNAL)

REFUSED: dict[int, Line] = {
    1007: _UNREAD,
    1009: _TOO_LARGE,
    1011: Line("the server failed", "see its log, and try again", EXIT_TEMPORARY),
    1012: Line("the server is stopping", "try again, another server takes over", EXIT_TEMPORARY),
    1013: Line(
        "the server is full, or not ready yet",
        "try again later, or raise the RuntimePool's maxReplicas",
        EXIT_TEMPORARY,
    ),
    4001: Line("the token is missing, wrong or expired", _TOKEN, EXIT_DENIED),
    4003: Line("the token is of another tenant or session", "use the token of this very session", EXIT_DENIED),
    4008: Line("the server waited too long for the session to be asked for", "try again", EXIT_TEMPORARY),
    4009: Line("somebody is connected to this session, or it ended", _AGAIN, EXIT_FAILED),
}
"""Close codes before the session began."""

ENDED: dict[int, Line] = {
    1007: _UNREAD,
    1009: _TOO_LARGE,
    1011: Line("the server failed, which ended the session", f"see its log; {_REST}", EXIT_FAILED),
    1012: Line("the server had to stop, which ended the session", _REST, EXIT_FAILED),
    4008: Line(
        "the session's time is over", f"{_AGAIN} with a longer maxDurationSeconds or idleTimeoutSeconds", EXIT_FAILED
    ),
    4009: Line("the session was deleted, or is connected to another server", _AGAIN, EXIT_FAILED),
}
"""Close codes once it had: a session that ended takes nobody any more."""

BY_NAME: dict[str, Line] = {
    "LanguageUnknown": Line(
        "the model does not know the language", "give another with --language, or auto", EXIT_INPUT
    ),
}
"""Refusals, by their code's name, that the close code alone tells wrongly."""

_STATUSES = {401: 4001, 403: 4003, 409: 4009, 429: 1013, 503: 1013}
"""A refusal before the connection stands, as the close code that says the same."""


@dataclass(frozen=True)
class Ending:
    """What is known once a connection has ended.

    Attributes:
        code: the server's close code, or `BROKEN`.
        said: the reason in its close frame.
        started: whether the session had begun.
        sent_all: whether all audio was sent, and that it was.
        ended: the message `session_ended`, if it came.
        fatal: the message `error` that was fatal, if one came.
    """

    code: int
    said: str = ""
    started: bool = False
    sent_all: bool = False
    ended: Mapping[str, Any] | None = None
    fatal: Mapping[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why the session ended, as `session_ended` says (a `SessionEnd`); empty if it says nothing."""
        return str((self.ended or {}).get("reason") or "")

    @property
    def failure(self) -> str:
        """Why the transcript was not published, `<reason>: <message>`; empty if it was, or nothing was to be."""
        failure = (self.ended or {}).get("failure")
        if not isinstance(failure, Mapping):
            return ""
        return ": ".join(str(part) for part in (failure.get("reason"), failure.get("message")) if part)


def error_of(ending: Ending, target: Target) -> CommandError | None:
    """Returns the error that an ending is; None where the session ended as it should."""
    fatal = ending.fatal or {}
    said = str(fatal.get("message") or ending.said)
    # What failed the server (code 1011) it says twice: as an error, and of the transcript.
    unpublished = f"the transcript was not published: {ending.failure}" if ending.failure and not fatal else ""
    line = _line(ending, str(fatal.get("code") or ending.said))
    if line is not None:
        return _error(line, ending.reason, said, unpublished)
    if fatal or ending.code not in _ORDERLY:
        return CommandError(
            f"the server ended the session ({ending.code}): {plain(said) or 'no reason given'}", EXIT_FAILED
        )
    if ending.ended is None:
        return _broken(target, started=ending.started)
    if not ending.sent_all or ending.reason not in ("", SessionEnd.CLIENT_ENDED):
        return _error(Line("the session ended before the audio did", _REST, EXIT_FAILED), ending.reason, unpublished)
    if ending.failure:
        remedy = f"its text is printed; see to the output, and {_AGAIN} to have it published"
        return _error(Line("the transcript was not published", remedy, EXIT_FAILED), ending.failure)
    return None


def _line(ending: Ending, name: str) -> Line | None:
    """Returns the line of a refusal's name, else of the close code."""
    if (line := BY_NAME.get(name)) is not None:
        return line
    return ENDED.get(ending.code, REFUSED.get(ending.code)) if ending.started else REFUSED.get(ending.code)


def _error(line: Line, *said: str) -> CommandError:
    more = plain("; ".join(part for part in said if part))
    return CommandError(f"{line.meaning}{f' ({more})' if more else ''}: {line.remedy}", line.exit_code)


def _broken(target: Target, *, started: bool) -> CommandError:
    """A server whose client is gone ends the session; only one that died itself leaves it to be taken up again."""
    if not started:
        return CommandError(
            f"the connection to {target.server} broke before the session began: see the server's log, and try again",
            EXIT_TEMPORARY,
        )
    namespace, _, name = plain(target.session or "").rpartition("/")
    status = f"steno status ss/{name or 'NAME'}" + (f" -n {namespace}" if namespace else "")
    return CommandError(
        f"the connection to {target.server} broke: what was final is printed; look at `{status}`: if it is Ready again "
        f"(its server died) stream the rest to it, once it has ended {_AGAIN} for the rest",
        EXIT_TEMPORARY,
    )


def refusal_of(status: int, body: bytes, target: Target) -> CommandError:
    """Returns the error for an HTTP answer in place of a WebSocket (problem+json, if it is Steno's)."""
    try:
        problem = json.loads(body)
        said = str(problem.get("detail") or problem.get("title") or "")
    except (ValueError, AttributeError):
        said = ""
    if status in _STATUSES:
        return _error(REFUSED[_STATUSES[status]], said)
    if status == 404:
        return CommandError(f"{target.server} has no such path: is it a server of Steno? Check the URL", EXIT_INPUT)
    why = f"HTTP {status}" + (f": {plain(said)}" if said else "")
    return CommandError(f"{target.server} refused the connection ({why}): check the URL, or try again", EXIT_TEMPORARY)


def unreachable(target: Target) -> CommandError:
    """Returns the error for a server that does not answer; a name of the cluster's inside gets its own."""
    host = target.server.rpartition("//")[2].partition(":")[0].split(".")
    if len(host) >= 3 and host[2] == "svc":
        return CommandError(
            f"{target.server} is an address inside the cluster: run `kubectl -n {host[1]} port-forward svc/{host[0]} "
            "8080` and add --url ws://127.0.0.1:8080, or set the RuntimePool's spec.endpoints",
            EXIT_TEMPORARY,
        )
    return CommandError(f"{target.server} does not answer: check the URL, or forward its port", EXIT_TEMPORARY)
