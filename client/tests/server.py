"""A WebSocket server that runs scripted sessions with the messages of Steno's own server, and its clients."""

from __future__ import annotations

import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats
from steno_client.cli import app
from steno_runtime.serve.transports.websocket import messages

Script = Callable[["Session"], None]
TOKEN = "secret-token"


def recording(path: Path, *, seconds: float = 0.55, rate: int = 16000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(range(1, 1 + width * channels)) * int(seconds * rate))
    return path


def stream(*words: str, **environment: str) -> Any:
    settings = {"STENO_TOKEN": TOKEN, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    return CliRunner().invoke(app, ["stream", *words], env=settings)


def assert_refused(done: Any, code: int, *messages: str) -> None:
    assert done.exit_code == code, done.output
    assert all(message in done.stderr for message in messages), done.stderr
    assert done.stderr.startswith("steno: ")
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.output


@dataclass
class Session:
    """One connection, as the server sees it."""

    socket: ServerConnection
    path: str
    authorization: str | None
    start: dict[str, Any] = field(default_factory=dict)
    audio: bytes = b""
    started: float = 0.0
    seconds: float = 0.0
    """From the first message to the end of the audio."""

    def send(self, type_: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": type_, **fields}))

    def accept(self) -> None:
        self.start = json.loads(self.socket.recv())
        self.started = time.monotonic()
        self.send("session_started", session_id="uid-1", limits={})

    def listen(self, on_audio: Callable[[int], None] = lambda _count: None) -> None:
        """Receive audio until `end_session`."""
        count = 0
        for message in self.socket:
            if isinstance(message, bytes):
                self.audio += message
                count += 1
                on_audio(count)
            elif json.loads(message)["type"] == "end_session":
                self.seconds = time.monotonic() - self.started
                return

    def end(self, reason: SessionEnd = SessionEnd.CLIENT_ENDED, **result: Any) -> None:
        """End the session as Steno's server does; `result` is that of publishing (`manifest`; `failure`, `message`)."""
        stats = SessionStats(audio_seconds=len(self.audio) / 32000)
        given = SessionResult(reason=reason, time=datetime.now(UTC), **result)
        self.socket.send(json.dumps(messages.session_ended_message(reason, stats, given)))
        self.socket.close(reason.close_code or 1000)

    def refuse(self, code: ErrorCode, message: str = "as the server says") -> None:
        """Refuse the session as Steno's server does."""
        self.socket.send(json.dumps(messages.error_message(ApiError(code, message), fatal=True)))
        self.socket.close(code.value.close, code.value.code)


def complete_session(session: Session) -> None:
    """A complete, normal session."""
    session.accept()

    def on_audio(count: int) -> None:
        if count == 1:
            session.send("partial", seq=1, utterance_id="u1", text="hello", stable_text="", start_ms=0, end_ms=100)
        if count == 3:
            session.send("final", seq=2, utterance_id="u1", text="Hello there.", words=[], start_ms=0, end_ms=300)

    session.listen(on_audio)
    session.send("error", code="UnknownType", message="a message was not understood", fatal=False)
    session.send("final", seq=3, utterance_id="u2", text="안녕하세요.", words=[], start_ms=300, end_ms=400)
    session.end()


@dataclass
class Server:
    """A running server and its sessions so far."""

    url: str
    script: Script = complete_session
    refusal: tuple[int, dict[str, str]] | None = None
    sessions: list[Session] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port."""

    def check_handshake(connection: ServerConnection, _request: Request) -> Response | None:
        if running.refusal is None:
            return None
        status, problem = running.refusal
        return connection.respond(HTTPStatus(status), json.dumps(problem))

    def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        session = Session(socket, socket.request.path, socket.request.headers.get("Authorization"))
        running.sessions.append(session)
        with suppress(ConnectionClosed):
            running.script(session)

    with serve(handle, "127.0.0.1", 0, process_request=check_handshake, compression=None) as server:
        running = Server(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
