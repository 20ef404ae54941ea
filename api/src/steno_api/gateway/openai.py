"""OpenAI's audio API: the answers of `/v1/audio/transcriptions` and `/v1/models`, made of a transcript document."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from steno_api.documents.transcript import Segment, Transcript

UNKNOWN_SPEAKER = "unknown"
"""Of a segment that has none: the field is not optional."""

# fmt: off
_LANGUAGES = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fo": "faroese",
    "fr": "french", "gl": "galician", "gu": "gujarati", "ha": "hausa", "haw": "hawaiian", "he": "hebrew",
    "hi": "hindi", "hr": "croatian", "ht": "haitian creole", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "is": "icelandic", "it": "italian", "ja": "japanese", "jv": "javanese", "jw": "javanese", "ka": "georgian",
    "kk": "kazakh", "km": "khmer", "kn": "kannada", "ko": "korean", "la": "latin", "lb": "luxembourgish",
    "ln": "lingala", "lo": "lao", "lt": "lithuanian", "lv": "latvian", "mg": "malagasy", "mi": "maori",
    "mk": "macedonian", "ml": "malayalam", "mn": "mongolian", "mr": "marathi", "ms": "malay", "mt": "maltese",
    "my": "myanmar", "ne": "nepali", "nl": "dutch", "nn": "nynorsk", "no": "norwegian", "oc": "occitan",
    "pa": "punjabi", "pl": "polish", "ps": "pashto", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sa": "sanskrit", "sd": "sindhi", "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sn": "shona",
    "so": "somali", "sq": "albanian", "sr": "serbian", "su": "sundanese", "sv": "swedish", "sw": "swahili",
    "ta": "tamil", "te": "telugu", "tg": "tajik", "th": "thai", "tk": "turkmen", "tl": "tagalog", "tr": "turkish",
    "tt": "tatar", "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "yi": "yiddish",
    "yo": "yoruba", "yue": "cantonese", "zh": "chinese",
}
# fmt: on
"""Whisper's names of its languages, which OpenAI answers with instead of codes."""


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usage(_Shape):
    """What a request is charged for: whole seconds of audio."""

    type: Literal["duration"] = "duration"
    seconds: int


class Transcription(_Shape):
    """Answer of `response_format=json`."""

    text: str
    usage: Usage


class VerboseWord(_Shape):
    """A word, with seconds from the beginning."""

    word: str
    start: float
    end: float


class VerboseSegment(_Shape):
    """A segment; what Steno does not keep of decoding has a neutral value, so that strict clients parse it."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float
    """Logarithm of the mean probability of the words."""
    compression_ratio: float
    no_speech_prob: float = 0.0


class VerboseTranscription(_Shape):
    """Answer of `response_format=verbose_json`."""

    task: Literal["transcribe", "translate"] = "transcribe"
    language: str
    duration: float
    text: str
    words: list[VerboseWord] | None = None
    segments: list[VerboseSegment] | None = None
    usage: Usage


class SpokenSegment(_Shape):
    """A segment with its speaker; also an event of a stream."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    speaker: str
    text: str


class DiarizedTranscription(_Shape):
    """Answer of `response_format=diarized_json`."""

    task: Literal["transcribe"] = "transcribe"
    duration: float
    text: str
    segments: list[SpokenSegment]
    usage: Usage


class TextDelta(_Shape):
    """Event: more text. All deltas together are the text."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str
    segment_id: str | None = None


class TextDone(_Shape):
    """Event: the whole text."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str


class SpeechModelEntry(_Shape):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "steno"


class SpeechModelList(_Shape):
    """Answer of `/v1/models`."""

    object: Literal["list"] = "list"
    data: list[SpeechModelEntry]


class ErrorDetail(_Shape):
    """What was wrong."""

    message: str
    type: Literal[
        "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"
    ]
    param: str | None
    """The parameter that was wrong, if one was."""
    code: str
    """Stable, for programs."""


class ErrorEnvelope(_Shape):
    """OpenAI's form of an error."""

    error: ErrorDetail


def transcription(document: Transcript) -> Transcription:
    """Return the answer of `json`."""
    return Transcription(text=document.transcript, usage=_usage(document))


def verbose(document: Transcript, granularities: Collection[str], *, translated: bool = False) -> VerboseTranscription:
    """Return the answer of `verbose_json`.

    Args:
        document: the job's.
        granularities: `word`, `segment` or both.
        translated: whether the text is a translation: its language is English, whatever is spoken.
    """
    words = [
        VerboseWord(word=word.word, start=word.start, end=word.end) for each in document.segments for word in each.words
    ]
    return VerboseTranscription(
        task="translate" if translated else "transcribe",
        language="english" if translated else _LANGUAGES.get(document.language.partition("-")[0], document.language),
        duration=document.duration,
        text=document.transcript,
        words=words if "word" in granularities else None,
        segments=[_segment(*each) for each in enumerate(document.segments)] if "segment" in granularities else None,
        usage=_usage(document),
    )


def diarized(document: Transcript) -> DiarizedTranscription:
    """Return the answer of `diarized_json`: speakers are letters, in the order in which they are first heard."""
    return DiarizedTranscription(
        duration=document.duration,
        text=document.transcript,
        segments=_spoken(document),
        usage=_usage(document),
    )


def events(document: Transcript, *, with_speakers: bool) -> Iterator[TextDelta | SpokenSegment | TextDone]:
    """Yield a finished transcript as a stream's events.

    Args:
        document: the job's.
        with_speakers: whether segments with speakers are among them, as for `diarized_json`.
    """
    text, place = document.transcript, 0
    for segment in _spoken(document):
        found = text.find(segment.text, place)
        end = place if found < 0 else found + len(segment.text)
        if end > place:
            yield TextDelta(delta=text[place:end], segment_id=segment.id if with_speakers else None)
            place = end
        if with_speakers:
            yield segment
    if place < len(text):
        yield TextDelta(delta=text[place:])
    yield TextDone(text=text)


def _usage(document: Transcript) -> Usage:
    return Usage(seconds=math.ceil(document.duration))


def _segment(number: int, segment: Segment) -> VerboseSegment:
    data = segment.text.encode()
    return VerboseSegment(
        id=number,
        seek=round(segment.start * 100),
        start=segment.start,
        end=segment.end,
        text=segment.text,
        avg_logprob=math.log(max(segment.confidence, 1e-9)),
        compression_ratio=len(data) / len(zlib.compress(data)),
    )


def _spoken(document: Transcript) -> list[SpokenSegment]:
    speakers = dict.fromkeys(each.speaker for each in document.segments if each.speaker is not None)
    letters = {speaker: _letters(number) for number, speaker in enumerate(speakers)}
    return [
        SpokenSegment(
            id=f"seg_{number:03d}",
            start=each.start,
            end=each.end,
            speaker=letters.get(each.speaker or "", UNKNOWN_SPEAKER),
            text=each.text,
        )
        for number, each in enumerate(document.segments)
    ]


def _letters(number: int) -> str:
    """Return A, B, … Z, AA, AB, …."""
    higher, last = divmod(number, 26)
    return (_letters(higher - 1) if higher else "") + chr(ord("A") + last)
