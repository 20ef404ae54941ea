from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    SESSION_STARTED: _ClassVar[EventType]
    SPEECH_STARTED: _ClassVar[EventType]
    SPEECH_ENDED: _ClassVar[EventType]
    PARTIAL: _ClassVar[EventType]
    FINAL: _ClassVar[EventType]
    FLOW: _ClassVar[EventType]
    SESSION_ENDED: _ClassVar[EventType]
EVENT_TYPE_UNSPECIFIED: EventType
SESSION_STARTED: EventType
SPEECH_STARTED: EventType
SPEECH_ENDED: EventType
PARTIAL: EventType
FINAL: EventType
FLOW: EventType
SESSION_ENDED: EventType

class AudioChunk(_message.Message):
    __slots__ = ("session_id", "audio_data", "sequence", "is_last", "config", "finalize")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_DATA_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    audio_data: bytes
    sequence: int
    is_last: bool
    config: StreamConfig
    finalize: bool
    def __init__(self, session_id: _Optional[str] = ..., audio_data: _Optional[bytes] = ..., sequence: _Optional[int] = ..., is_last: _Optional[bool] = ..., config: _Optional[_Union[StreamConfig, _Mapping]] = ..., finalize: _Optional[bool] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("language", "sample_rate", "interim_results", "tenant_id", "meeting_id", "languages")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    INTERIM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    MEETING_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    language: str
    sample_rate: int
    interim_results: bool
    tenant_id: str
    meeting_id: str
    languages: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, language: _Optional[str] = ..., sample_rate: _Optional[int] = ..., interim_results: _Optional[bool] = ..., tenant_id: _Optional[str] = ..., meeting_id: _Optional[str] = ..., languages: _Optional[_Iterable[str]] = ...) -> None: ...

class TranscriptEvent(_message.Message):
    __slots__ = ("session_id", "seq", "text", "is_final", "confidence", "start_ms", "end_ms", "speaker", "words", "speech_final", "stability", "type", "utterance_id", "flow", "stable_text", "language", "ended")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FINAL_FIELD_NUMBER: _ClassVar[int]
    STABILITY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    STABLE_TEXT_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    seq: int
    text: str
    is_final: bool
    confidence: float
    start_ms: int
    end_ms: int
    speaker: str
    words: _containers.RepeatedCompositeFieldContainer[Word]
    speech_final: bool
    stability: float
    type: EventType
    utterance_id: str
    flow: FlowControl
    stable_text: str
    language: str
    ended: SessionEnded
    def __init__(self, session_id: _Optional[str] = ..., seq: _Optional[int] = ..., text: _Optional[str] = ..., is_final: _Optional[bool] = ..., confidence: _Optional[float] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., speaker: _Optional[str] = ..., words: _Optional[_Iterable[_Union[Word, _Mapping]]] = ..., speech_final: _Optional[bool] = ..., stability: _Optional[float] = ..., type: _Optional[_Union[EventType, str]] = ..., utterance_id: _Optional[str] = ..., flow: _Optional[_Union[FlowControl, _Mapping]] = ..., stable_text: _Optional[str] = ..., language: _Optional[str] = ..., ended: _Optional[_Union[SessionEnded, _Mapping]] = ...) -> None: ...

class Word(_message.Message):
    __slots__ = ("word", "start_ms", "end_ms", "confidence", "speaker")
    WORD_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    word: str
    start_ms: int
    end_ms: int
    confidence: float
    speaker: str
    def __init__(self, word: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., confidence: _Optional[float] = ..., speaker: _Optional[str] = ...) -> None: ...

class FlowControl(_message.Message):
    __slots__ = ("state", "lag_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    state: str
    lag_ms: int
    def __init__(self, state: _Optional[str] = ..., lag_ms: _Optional[int] = ...) -> None: ...

class SessionEnded(_message.Message):
    __slots__ = ("reason", "audio_seconds", "segments", "manifest", "failure", "message", "warnings")
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    audio_seconds: float
    segments: int
    manifest: str
    failure: str
    message: str
    warnings: _containers.RepeatedCompositeFieldContainer[WarningSummary]
    def __init__(self, reason: _Optional[str] = ..., audio_seconds: _Optional[float] = ..., segments: _Optional[int] = ..., manifest: _Optional[str] = ..., failure: _Optional[str] = ..., message: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[WarningSummary, _Mapping]]] = ...) -> None: ...

class WarningSummary(_message.Message):
    __slots__ = ("reason", "message", "count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    count: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
