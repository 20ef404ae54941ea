"""Events of OpenAI's Realtime API for transcription, from the messages of a session's server. Pure, but for random IDs.

Separate because the endpoint is about who waits for what, and this about what is said. An item of the API is an
utterance; what the server calls speech and what it calls an utterance is matched by time, since speech without words
has no text, and speech that is too long becomes several utterances.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from steno_api.gateway.jobs import SpokenTag, Tag

Event = dict[str, Any]
PCM_RATE, G711_RATE = 24_000, 8_000
_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
"""Names of the API's beta."""
_SPEECH = "conversation.item.input_audio_transcription"


class _Said(BaseModel):
    """What a client says; what is not here has no effect."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AudioFormat(_Said):
    """How the audio is encoded."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Annotated[int, Field(ge=8000, le=48_000)] = PCM_RATE


class Transcription(_Said):
    """What is asked of the transcription."""

    model: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    language: SpokenTag | None = None
    languages: Annotated[list[Tag], Field(max_length=16)] | None = None


class RealtimeSession(_Said):
    """Settings of a session, in neither version's form."""

    format: AudioFormat = AudioFormat()
    transcription: Transcription = Transcription()

    @property
    def rate(self) -> int:
        """Samples in a second, as the server gets them."""
        return self.format.rate if self.format.type == "audio/pcm" else G711_RATE

    def start(self) -> dict[str, Any]:
        """Return the fields of the server's `start_session`."""
        asked: dict[str, Any] = {"sample_rate": self.rate, "interim_results": True}
        if self.transcription.language is not None:
            asked["language"] = self.transcription.language
        if self.transcription.languages:
            asked["languages"] = self.transcription.languages
        return asked

    def shown(self, session_id: str, model: str, *, beta: bool) -> Event:
        """Return the session as the client sees it.

        Args:
            session_id: of the session.
            model: if the client has named none.
            beta: in the form of the API's beta.
        """
        spoken = self.transcription.model_dump(exclude_none=True)
        spoken = {"model": model, **spoken}
        turns: Event = {"type": "server_vad"}
        if beta:
            name = next(name for name, kind in _FORMATS.items() if kind == self.format.type)
            common = {"id": session_id, "object": "realtime.transcription_session", "input_audio_format": name}
            return {**common, "input_audio_transcription": spoken, "turn_detection": turns}
        form = self.format.model_dump(exclude=None if self.format.type == "audio/pcm" else {"rate"})
        heard = {"format": form, "transcription": spoken, "turn_detection": turns, "noise_reduction": None}
        common = {"id": session_id, "object": "realtime.transcription_session", "type": "transcription"}
        return {**common, "audio": {"input": heard}}


def updated(session: RealtimeSession, said: Mapping[str, Any]) -> RealtimeSession:
    """Return a session with what an update says of it, in the form of either version.

    Raises:
        pydantic.ValidationError: a value is none that is known.
    """
    heard = _mapping(_mapping(said.get("audio")).get("input"))
    form = heard.get("format") or said.get("input_audio_format")
    if isinstance(form, str):
        form = {"type": _FORMATS.get(form, form)}
    spoken = heard.get("transcription") or said.get("input_audio_transcription")
    merged = {
        "format": session.format if form is None else form,
        "transcription": session.transcription.model_dump() | _mapping(spoken),
    }
    return RealtimeSession.model_validate(merged)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@dataclass
class _Item:
    """An item of the conversation: an utterance.

    Attributes:
        start_ms: where its speech begins.
        utterance: the server's number of it, once that is known.
        committed: whether the client knows that its audio is complete.
        shown: of its text.
        hidden: the client has cleared it.
    """

    id: str
    start_ms: int
    utterance: int | None = None
    committed: bool = False
    shown: str = ""
    hidden: bool = False


class Translator:
    """Makes events of messages."""

    def __init__(self) -> None:
        self._open: list[_Item] = []
        """Items without a final text, in their order."""
        self._current: _Item | None = None
        """The one that speech goes into."""
        self._previous: str | None = None
        self._final_ms = 0
        """The end of the last final text."""

    def clear(self) -> None:
        """Leave out what was said, and has no final text yet."""
        for item in self._open:
            item.hidden = True

    def translate(self, message: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of one of the server's messages, without their IDs."""
        match message.get("type"):
            case "speech_started":
                offset = message["offset_ms"]
                item = self._current = self._new(offset)
                yield from _of(item, "input_audio_buffer.speech_started", audio_start_ms=offset)
            case "speech_ended":
                item = self._current
                if item is None or item.committed:  # it was cut before
                    item = self._new(self._final_ms)
                yield from _of(item, "input_audio_buffer.speech_stopped", audio_end_ms=message["offset_ms"])
                yield from self._commit(item)
                self._current = None
            case "partial":
                item = yield from self._item(message)
                yield from self._delta(item, message["stable_text"])
            case "final":
                item = yield from self._item(message)
                yield from self._commit(item)
                yield from self._delta(item, message["text"])
                yield from self._complete(item, message["text"], message["end_ms"] - message["start_ms"])
                self._final_ms = message["end_ms"]
            case _:
                pass

    def _new(self, start_ms: int) -> _Item:
        item = _Item(f"item_{secrets.token_hex(10)}", start_ms)
        self._open.append(item)
        return item

    def _item(self, message: Mapping[str, Any]) -> Generator[Event, None, _Item]:
        """Return the item of an utterance; speech before it that has none had no words."""
        number, end = message["utterance_id"], message["end_ms"]
        known = next((item for item in self._open if item.utterance == number), None)
        if known is not None:
            return known
        waiting = [item for item in self._open if item.utterance is None and item.start_ms < end]
        for item in waiting[:-1]:
            yield from self._commit(item)
            yield from self._complete(item, "", 0)
        item = waiting[-1] if waiting else self._new(message["start_ms"])
        item.utterance = number
        if self._current is not None and self._current.committed:  # it was cut, and this is the rest of it
            self._current = item
        return item

    def _commit(self, item: _Item) -> Iterator[Event]:
        if not item.committed:
            item.committed = True
            yield from _of(item, "input_audio_buffer.committed", previous_item_id=self._previous)
            self._previous = self._previous if item.hidden else item.id

    def _delta(self, item: _Item, text: str) -> Iterator[Event]:
        if text.startswith(item.shown) and len(text) > len(item.shown):
            yield from _of(item, f"{_SPEECH}.delta", content_index=0, delta=text[len(item.shown) :])
            item.shown = text

    def _complete(self, item: _Item, text: str, millis: int) -> Iterator[Event]:
        self._open.remove(item)
        usage = {"type": "duration", "seconds": millis / 1000}
        yield from _of(item, f"{_SPEECH}.completed", content_index=0, transcript=text, usage=usage)


def _of(item: _Item, kind: str, **fields: Any) -> Iterator[Event]:
    if not item.hidden:
        yield {"type": kind, "item_id": item.id, **fields}


def event_id() -> str:
    """Return an ID for an event."""
    return f"event_{secrets.token_hex(10)}"


def _table(decode: Any) -> tuple[bytes, ...]:
    return tuple(decode(byte).to_bytes(2, "little", signed=True) for byte in range(256))


def _ulaw(byte: int) -> int:
    value = ~byte & 0xFF
    sample = (((value & 0x0F) << 3) + 0x84 << ((value & 0x70) >> 4)) - 0x84
    return -sample if value & 0x80 else sample


def _alaw(byte: int) -> int:
    value = byte ^ 0x55
    exponent, mantissa = (value & 0x70) >> 4, (value & 0x0F) << 4
    sample = mantissa + 8 if not exponent else mantissa + 0x108 << exponent - 1
    return sample if value & 0x80 else -sample


_G711 = {"audio/pcmu": _table(_ulaw), "audio/pcma": _table(_alaw)}


def pcm(audio: bytes, kind: str) -> bytes:
    """Return audio as 16-bit samples: G.711 has one byte of each (ITU-T G.711, 1988)."""
    table = _G711.get(kind)
    return audio if table is None else b"".join([table[byte] for byte in audio])
