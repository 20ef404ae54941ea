"""The JSON messages of `/stt/realtime`: what a client may say, and what it is told."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steno_api.server.reports import SessionResult
from steno_api.v1alpha1.streamsession import SessionFigures
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.stream.events import Event, Final, Lag, Partial, SpeechEnded, SpeechStarted

_Short = Annotated[str, Field(max_length=512)]


class Start(BaseModel):
    """`start_session`; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    session_id: _Short | None = None
    tenant_id: _Short | None = None
    meeting_id: _Short | None = None
    language: Annotated[str, Field(max_length=16)] | None = None
    sample_rate: int = 16_000
    encoding: Annotated[str, Field(max_length=32)] = "pcm_s16le"
    token: str | None = None
    interim_results: bool | None = None


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Returns a message's type (its field `type`, or `event`) and its fields.

    Raises:
        Refusal: `InvalidMessage`; nothing of the text is in the message.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(
            Code.INVALID_MESSAGE, "That is not JSON. Send JSON objects as text, and audio as binary."
        ) from None
    kind = message.get("type", message.get("event")) if isinstance(message, dict) else None
    if not isinstance(kind, str):
        raise Refusal(Code.INVALID_MESSAGE, 'A message is a JSON object with a field "type".')
    return kind, message


def start(fields: dict[str, Any]) -> Start:
    """Reads `start_session`.

    Raises:
        Refusal: `InvalidMessage`, with the names of the fields that are wrong.
    """
    try:
        message = Start.model_validate(fields)
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) for item in error.errors(include_input=False)})
        raise Refusal(Code.INVALID_MESSAGE, f"start_session: wrong value of {', '.join(names)}.") from None
    if message.encoding not in ("pcm_s16le", "linear16"):
        raise Refusal(Code.INVALID_AUDIO, "encoding must be pcm_s16le: 16-bit little-endian PCM of one channel.")
    return message


def audio(fields: dict[str, Any]) -> bytes:
    """Returns the PCM of an `audio_chunk`.

    Raises:
        Refusal: `InvalidAudio`.
    """
    data = fields.get("audio_data")
    try:
        if isinstance(data, str):
            return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Refusal(Code.INVALID_AUDIO, "audio_data must be base64 of 16-bit little-endian PCM.") from None


def of_event(event: Event) -> dict[str, Any]:
    """Returns the message of an event."""
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


def session_ended(reason: str, figures: SessionFigures, result: SessionResult | None) -> dict[str, Any]:
    """Returns the last message of a session; without a result, its transcript is still being published."""
    message: dict[str, Any] = {
        "type": "session_ended",
        "reason": reason,
        "stats": figures.model_dump(exclude_none=True),
    }
    if result is not None and result.manifest is not None:
        message["manifest"] = result.manifest
    if result is not None and result.failure is not None:
        message["failure"] = {"reason": result.failure.value, "message": result.message}
    return message


def of_refusal(refusal: Refusal, *, fatal: bool) -> dict[str, Any]:
    """Returns the message of a refusal."""
    return {"type": "error", "code": refusal.answer.code, "message": refusal.message, "fatal": fatal}


def _word(word: Any) -> dict[str, Any]:
    """Times are seconds from the session's first sample, as in the transcript."""
    fields = dataclasses.asdict(word)
    return {
        "word": fields["word"],
        "start": fields["start_ms"] / 1000,
        "end": fields["end_ms"] / 1000,
        "confidence": round(fields["confidence"], 4),
    }
