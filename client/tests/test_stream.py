"""`steno stream` against a real WebSocket server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steno_client import audio, target
from steno_client.errors import CommandError
from steno_client.terminal import EventPrinter, StatusLine

from .server import TOKEN, Server, assert_refused, recording, stream

STENO = [sys.executable, "-c", "from steno_client.cli import main; main()", "stream"]


def test_a_recording_is_streamed_in_real_time_and_its_text_printed(server: Server, wav: Path):
    done = stream(str(wav), "--url", f"{server.url}/stt/realtime?session=team-a/standup")
    assert done.exit_code == 0, done.output
    assert done.stdout == "Hello there.\n안녕하세요.\n"
    assert done.stderr == "steno: a message was not understood\n"
    (one,) = server.sessions
    assert one.path == "/stt/realtime?session=team-a/standup"
    assert one.authorization == f"Bearer {TOKEN}"
    assert one.start == {"type": "start_session", "session_id": "standup", "sample_rate": 16000}
    assert len(one.audio) == 0.55 * 32000
    assert one.seconds >= 0.54


def test_faster_with_options_and_as_json(server: Server, wav: Path):
    options = ["--speed", "20", "--language", "ko", "--no-partials", "--json"]
    done = stream(str(wav), "--url", server.url, *options)
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    types = ["session_started", "partial", "final", "error", "final", "session_ended"]
    assert [event["type"] for event in events] == types
    (one,) = server.sessions
    assert one.path == "/stt/realtime"
    assert one.start["language"] == "ko"
    assert one.start["interim_results"] is False
    assert "session_id" not in one.start


def test_the_languages_that_may_be_detected_are_sent(server: Server, wav: Path):
    done = stream(str(wav), "--url", server.url, "--speed", "20", "--languages", "en,ko", "--languages", "ko,ja")
    assert done.exit_code == 0, done.output
    assert server.sessions[0].start["languages"] == ["en", "ko", "ja"]


def test_the_token_from_a_file_goes_before_the_environment(server: Server, wav: Path, tmp_path: Path):
    (tmp_path / "token").write_text("of-the-file\n")
    done = stream(str(wav), "--url", server.url, "--speed", "20", "--token-file", str(tmp_path / "token"))
    assert done.exit_code == 0, done.output
    assert server.sessions[0].authorization == "Bearer of-the-file"
    (tmp_path / "token").write_text("\n")
    empty = stream(str(wav), "--url", server.url, "--token-file", str(tmp_path / "token"))
    assert_refused(empty, 64, "is empty: it should contain the session's token")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, 77, "the token is missing, wrong or expired (the token expired at noon): read the token again"),
        (403, 77, "the token belongs to another tenant or session"),
        (503, 75, "the server is full"),
        (404, 64, "has no such path: is it a server of Steno?"),
        (502, 75, "refused the connection (HTTP 502: the token expired at noon)"),
    ],
)
def test_a_refusal_before_the_session(server: Server, wav: Path, status: int, code: int, message: str):
    server.refusal = (status, {"code": "Unauthorized", "detail": "the token expired at noon"})
    assert_refused(stream(str(wav), "--url", server.url), code, message)
    assert server.sessions == []


def test_a_revoked_token(server: Server, wav: Path):
    server.refusal = (401, {"code": "TokenRevoked", "detail": "its session was deleted"})
    refused = stream(str(wav), "--url", server.url)
    assert_refused(refused, 77, "the token was revoked (its session was deleted): create another StreamSession")


def test_a_server_of_another_protocol(server: Server, wav: Path):
    server.script = lambda one: one.socket.send("<html>")
    assert_refused(stream(str(wav), "--url", server.url), 64, "does not speak Steno's protocol")


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("ws://127.0.0.1:9", 75, "ws://127.0.0.1:9 does not answer: check the URL"),
        ("ftp://host", 64, "is not a WebSocket URL: give one such as ws://host:8080"),
        ("ws://host:port", 64, "is not a URL"),
        ("localhost:8080", 64, "is not a WebSocket URL"),
    ],
)
def test_an_address_that_cannot_be_connected_to(wav: Path, url: str, code: int, message: str):
    assert_refused(stream(str(wav), "--url", url), code, message)


def test_an_address_inside_a_cluster_says_how_to_reach_it(wav: Path):
    done = stream(str(wav), "--url", "ws://default-pool.team-a.svc.cluster.invalid:8080")
    assert_refused(done, 75, "run `kubectl -n team-a port-forward svc/default-pool 8080` and add --url ws://127.0.0.1")


def test_a_recording_that_is_not_audio(server: Server, tmp_path: Path):
    (tmp_path / "notes.wav").write_text("no sound at all\n" * 20)
    done = stream(str(tmp_path / "notes.wav"), "--url", server.url)
    assert_refused(done, 64, "The source is plain text, not audio or video")
    assert server.sessions == []


def test_what_is_doubtful_of_a_recording_or_its_transcript_is_said(
    server: Server, wav: Path, capsys: pytest.CaptureFixture[str]
):
    whole = wav.read_bytes()
    wav.write_bytes(whole[:44] + bytes(len(whole) - 44))
    done = stream(str(wav), "--url", server.url)
    assert done.exit_code == 0, done.output
    assert "steno: warning: SilentTrack: The audio is silent from beginning to end" in done.stderr
    with EventPrinter() as printer:
        printer({"type": "session_ended", "warnings": [{"reason": "NoSpeech", "message": "None\x1b.", "count": 1}]})
    assert capsys.readouterr().err == "steno: warning: NoSpeech: None.\n"


def test_a_recorder_is_piped_in_and_ctrl_c_ends_the_audio_not_the_text(server: Server):
    command = [*STENO, "-", "--url", server.url, "--json", "--sample-rate", "8000"]
    environment = {**os.environ, "STENO_TOKEN": TOKEN}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "session_started"
        process.stdin.write(b"\x01\x02\x03")  # a sample and a half
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["type"] == "partial"
        process.send_signal(signal.SIGINT)  # the pipe is still open
        rest = [json.loads(line)["type"] for line in process.stdout]
        assert process.wait(30) == 0
    assert rest == ["error", "final", "session_ended"]
    assert server.sessions[0].audio == b"\x01\x02"
    assert server.sessions[0].start["sample_rate"] == 8000


def test_a_closed_pipe_is_not_an_error(server: Server, wav: Path):
    command = [*STENO, str(wav), "--url", server.url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_standard_input_to_its_end(server: Server):
    command = [*STENO, "-", "--url", server.url]
    done = subprocess.run(
        command, input=b"\0" * 32000, capture_output=True, env={**os.environ, "STENO_TOKEN": TOKEN}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().endswith("안녕하세요.\n")
    assert server.sessions[0].audio == b"\0" * 32000


def test_wav_without_the_runtime(tmp_path: Path):
    stereo = audio.read_wav(recording(tmp_path / "stereo.wav", rate=8000, channels=2))
    assert (stereo.sample_rate, stereo.seconds) == (8000, 0.55)
    mean = (0x0201 + 0x0403) // 2
    assert stereo.pcm[:2] == mean.to_bytes(2, "little")
    assert b"".join(stereo.chunks()) == stereo.pcm
    assert {len(chunk) for chunk in list(stereo.chunks())[:-1]} == {1600}
    for wrong, message in (
        (recording(tmp_path / "24.wav", width=3), "has 24-bit samples at 16000 Hz: convert"),
        (recording(tmp_path / "hifi.wav", rate=96000), "has 16-bit samples at 96000 Hz: convert"),
    ):
        with pytest.raises(CommandError, match=message):
            audio.read_wav(wrong)
    (tmp_path / "a.mp3").write_bytes(b"ID3" * 100)
    with pytest.raises(
        CommandError, match=r"is not a WAV file of PCM samples: .*or install the runtime: in a checkout"
    ):
        audio.read_wav(tmp_path / "a.mp3")


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("ws://h:1", "ws://h:1/stt/realtime?session=a/b"),
        ("https://h/", "wss://h/stt/realtime?session=a/b"),
        ("wss://h/x?session=c/d", "wss://h/x?session=c/d"),
    ],
)
def test_a_url_is_completed(url: str, full: str):
    assert target.complete_url(url, "a/b") == full


def test_the_token_is_not_part_of_the_repr():
    assert TOKEN not in repr(target.Target("ws://h", TOKEN))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_line_is_rewritten_and_finals_stay(monkeypatch: pytest.MonkeyPatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "12")
    with EventPrinter() as printer:
        printer({"type": "partial", "text": "hel"})
        printer({"type": "partial", "text": "hello there, all of you"})
        printer({"type": "final", "text": "Hello\x1b[31m there."})
        printer({"type": "partial", "text": "x"})
    clear = "\r\x1b[2K"
    assert out.getvalue() == f"{clear}hel{clear}…all of you{clear}Hello[31m there.\n{clear}x{clear}"


def test_wide_characters_fit_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "10")
    out = Terminal()
    with StatusLine(out, keep_end=True) as line:
        line.update("가나다라마바사아")
    assert out.getvalue() == "\r\x1b[2K…마바사아\r\x1b[2K"
    out = Terminal()
    with StatusLine(out) as line:
        line.update("Running  43 %")
    assert out.getvalue() == "\r\x1b[2KRunning…\r\x1b[2K"
