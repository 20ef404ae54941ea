"""JSON messages of `/stt/realtime`, both ways. Pure."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import SessionResult
from steno_api.v1alpha1.streamsession import SessionStats
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.serve.sessions.driver import MAX_AUDIO_BYTES, Start, Started
from steno_runtime.serve.sessions.registry import SessionOverrides
from steno_runtime.stream.events import Event, Final, Lag, Partial, SpeechEnded, SpeechStarted

_LINE_BREAKS = str.maketrans("", "", " \t\r\n")
_AUDIO_TYPES = frozenset(
    {"", "application/octet-stream", "application/ogg", "audio/l16", "audio/ogg", "audio/opus", "audio/pcm",
     "audio/mp4", "audio/raw", "audio/vnd.wave", "audio/wav", "audio/wave", "audio/webm", "audio/x-matroska",
     "audio/x-pcm", "audio/x-raw", "audio/x-wav", "video/mp4", "video/webm", "video/x-matroska"}
)  # fmt: skip
"""Media types of a data: URL that may hold PCM, WebM, Ogg or MP4; which of them it is, its bytes say."""
_BASE64_FOLLOWS = re.compile(r";\s*base64\s*,", re.IGNORECASE)
_MAX_HEAD_CHARS = 300
_ENCODINGS = frozenset({"pcm_s16le", "linear16", "webm_opus", "ogg_opus", "mp4_aac"})
_REMEDY = "Send base64 of 16-bit little-endian PCM, or of WebM, Ogg or MP4"
_Short = Annotated[str, Field(max_length=512)]


class _StartSession(BaseModel):
    """`start_session`; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    session_id: _Short | None = None
    tenant_id: _Short | None = None
    meeting_id: _Short | None = None
    language: Annotated[str, Field(max_length=16)] | None = None
    languages: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=16)] = []
    sample_rate: int = SAMPLE_RATE
    encoding: Annotated[str, Field(max_length=32)] = "pcm_s16le"
    token: str | None = None
    api_key: str | None = None
    interim_results: bool | None = None


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Return a message's type (its field `type`, or `event`) and its fields.

    Raises:
        ApiError: `InvalidMessage`; nothing of the text is in the message.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ApiError(
            ErrorCode.INVALID_MESSAGE, "The message is not JSON. Send JSON objects as text, and audio as binary."
        ) from None
    kind = message.get("type", message.get("event")) if isinstance(message, dict) else None
    if not isinstance(kind, str):
        raise ApiError(ErrorCode.INVALID_MESSAGE, 'A message is a JSON object with a field "type".')
    return kind, message


def parse_start(fields: dict[str, Any]) -> Start:
    """Read `start_session`.

    Raises:
        ApiError: `InvalidMessage`, with the names of the fields that are wrong, or `InvalidAudio`.
    """
    try:
        message = _StartSession.model_validate(fields)
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) for item in error.errors(include_input=False)})
        raise ApiError(ErrorCode.INVALID_MESSAGE, f"start_session: wrong value of {', '.join(names)}.") from None
    if message.encoding not in _ENCODINGS:
        raise ApiError(
            ErrorCode.INVALID_AUDIO,
            "encoding must be pcm_s16le (16-bit little-endian PCM of one channel), webm_opus, ogg_opus or mp4_aac.",
        )
    return Start(
        session=message.session_id,
        tenant=message.tenant_id,
        meeting=message.meeting_id,
        token=message.token or message.api_key,
        sample_rate=message.sample_rate,
        overrides=SessionOverrides(message.language, message.interim_results, tuple(message.languages)),
    )


class InvalidChunkError(ApiError):
    """An `audio_chunk` that has no audio that can be read. It is left out; the session goes on."""

    def __init__(self, message: str) -> None:
        """Create the error; `message` says what is wrong with the chunk and what to do."""
        super().__init__(ErrorCode.INVALID_AUDIO, f"This chunk was left out: {message}")


def parse_audio(fields: dict[str, Any]) -> bytes:
    """Return the audio of an `audio_chunk`: base64 (RFC 4648), with line breaks as MIME has them, or as a data: URL.

    Raises:
        InvalidChunkError: it is something else; nothing of the data is in the message.
    """
    encoded = fields.get("audio_data")
    if not isinstance(encoded, str):
        raise InvalidChunkError(f"audio_data must be a string. {_REMEDY}.")
    if encoded.startswith("data:"):
        encoded = _data_url_content(encoded)
    encoded = encoded.translate(_LINE_BREAKS)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidChunkError(_why_not_base64(encoded)) from None


def _data_url_content(url: str) -> str:
    """Return what a data: URL holds, if its type is one that can be read."""
    base64_follows = _BASE64_FOLLOWS.search(url, 0, _MAX_HEAD_CHARS)  # a comma may be in the codecs, too
    if base64_follows is None:
        raise InvalidChunkError(f"audio_data is a data: URL without base64. {_REMEDY}.")
    kind = url[len("data:") : base64_follows.start()].lower().partition(";")[0].strip()
    if kind not in _AUDIO_TYPES:
        shown = kind if re.fullmatch(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}", kind) else "another type"
        raise InvalidChunkError(f"audio_data is a data: URL of {shown}. {_REMEDY}.")
    return url[base64_follows.end() :]


def _why_not_base64(encoded: str) -> str:
    if not encoded.isascii() or not re.fullmatch(r"[A-Za-z0-9+/_-]*=*", encoded):
        why = "audio_data has characters that base64 has not"
    elif "-" in encoded or "_" in encoded:
        why = "audio_data has the URL-safe alphabet of base64 (- and _). Use the standard one (+ and /)"
    elif len(encoded) % 4:
        why = "the length of audio_data is no multiple of four: it was cut, or encoded without padding (=)"
    else:
        why = "audio_data is not base64"
    return f"{why}. {_REMEDY}, or the same as a binary message."


def started_message(started: Started) -> dict[str, Any]:
    """Return `session_started`."""
    claims = started.claims
    return {
        "type": "session_started",
        "session_id": started.session,
        "meeting_id": claims.meeting_id,
        "limits": {
            "max_duration_seconds": claims.max_duration_seconds,
            "idle_timeout_seconds": claims.idle_timeout_seconds,
            "max_frame_bytes": MAX_AUDIO_BYTES,
        },
    }


def event_message(event: Event) -> dict[str, Any]:
    """Return the message of an event."""
    match event:
        case SpeechStarted():
            return {"type": "speech_started", "offset_ms": event.offset_ms}
        case SpeechEnded():
            return {"type": "speech_ended", "offset_ms": event.offset_ms}
        case Partial():
            return {
                "type": "partial",
                "seq": event.seq,
                "utterance_id": event.utterance,
                "text": event.text,
                "stable_text": event.stable_text,
                "start_ms": event.start_ms,
                "end_ms": event.end_ms,
            }
        case Final():
            return {
                "type": "final",
                "seq": event.seq,
                "utterance_id": event.utterance,
                "text": event.text,
                "words": [_word(word) for word in event.words],
                "start_ms": event.start_ms,
                "end_ms": event.end_ms,
                "confidence": round(event.confidence, 4),
                "language": event.language,
                "speech_final": event.speech_final,
            }
        case Lag():
            return {"type": "flow", "state": event.state, "lag_ms": event.lag_ms}


def session_ended_message(reason: str, stats: SessionStats, result: SessionResult | None) -> dict[str, Any]:
    """Return the last message of a session.

    Args:
        reason: why it ended.
        stats: its statistics.
        result: what it left; None while its transcript is still being published.
    """
    message: dict[str, Any] = {
        "type": "session_ended",
        "reason": reason,
        "stats": stats.model_dump(exclude_none=True),
    }
    if result is not None and result.manifest is not None:
        message["manifest"] = result.manifest
    if result is not None and result.warnings:
        message["warnings"] = [warning.to_wire() for warning in result.warnings]
    if result is not None and result.failure is not None:
        message["failure"] = {"reason": result.failure.value, "message": result.message}
    return message


def error_message(error: ApiError, *, fatal: bool) -> dict[str, Any]:
    """Return the message of an error; after a fatal one the connection is closed."""
    return {"type": "error", "code": error.status.code, "message": error.message, "fatal": fatal}


def _word(word: Any) -> dict[str, Any]:
    """Times are seconds from the session's first sample, as in the transcript."""
    fields = dataclasses.asdict(word)
    return {
        "word": fields["word"],
        "start": fields["start_ms"] / 1000,
        "end": fields["end_ms"] / 1000,
        "confidence": round(fields["confidence"], 4),
    }
