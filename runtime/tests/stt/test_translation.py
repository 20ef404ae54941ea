"""English text of speech in another language."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steno_api.documents.warnings import WarningReason
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.engine import DecodeProfile
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe
from steno_runtime.stt.tokenizers import timed_words

from .test_review import ScriptedEngine, reasons, speech, words_of

__all__ = ["speech"]


class KoreanEngine(ScriptedEngine):
    """Is told Korean, and translates."""

    def __init__(self, *, silent: bool = False, **options: float) -> None:
        super().__init__(**options)
        self.silent = silent

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):
        assert language == "ko"
        rows = super().decode(windows, language, profile)
        return [replace(row, language="ko", **({"text": "", "words": ()} if self.silent else {})) for row in rows]


def run_scripted(samples, engine: ScriptedEngine) -> TranscriptionResult:
    options = TranscriptionOptions(model="scripted", language="ko", model_store=Path("/nowhere"), translate=True)
    return transcribe(samples, options, on_progress=lambda _: None, check=lambda: None, engine=engine)


def test_the_text_is_english_and_the_language_is_what_was_spoken(speech):
    result = run_scripted(speech, KoreanEngine())
    assert (result.language, result.translated, words_of(result) > 20) == ("ko", True, True)
    document = build_transcript(result, meeting_id="m", tenant_id="t", processing_time=1.0)
    assert (document.language, document.translated) == ("ko", True)


def test_a_translation_that_ends_before_its_speech_is_not_decoded_again(speech):
    engine = KoreanEngine(stops_after=3.0)
    result = run_scripted(speech, engine)
    assert {profile for _, profile in engine.decoded} == {DecodeProfile.BEAM_WITH_FALLBACK}
    assert result.warnings == ()


def test_speech_without_any_translation_is_named(speech):
    assert reasons(run_scripted(speech, KoreanEngine(silent=True))) == {WarningReason.SPEECH_NOT_DECODED}


def test_english_words_keep_their_spaces_though_those_of_the_speech_have_none():
    row = [
        {"word": text, "start": at / 10, "end": at / 10 + 0.1, "probability": 0.9}
        for at, text in enumerate([" Hel", "lo", " world"])
    ]
    assert [(each.text, each.spaced) for each in timed_words(row, spaced=True)] == [("Hello", True), ("world", True)]


@pytest.mark.slow
def test_a_real_model_translates(run, espeak):
    spoken = espeak("de", "Guten Tag, meine Damen und Herren. Wir beginnen heute mit der Planung für das nächste Jahr.")
    result, _ = run(spoken, translate=True)
    text = " ".join(segment.text for segment in result.segments).lower()
    assert result.language == "de"
    assert {"ladies", "gentlemen", "today", "year"} & set(text.replace(",", " ").replace(".", " ").split()), text
