"""OpenAI's audio API with OpenAI's own SDK, through a real gateway, API server and object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from .conftest import GatewayProcess, running, until, when_created

pytestmark = pytest.mark.apiserver


def _segment(start: float, text: str, speaker: str | None) -> dict[str, Any]:
    words = [
        {"word": word, "start": start + 0.1 * number, "end": start + 0.1 * number + 0.1, "confidence": 0.9}
        for number, word in enumerate(text.split())
    ]
    return {
        "start": start, "end": start + 1.0, "text": text, "speaker": speaker, "confidence": 0.9, "words": words,
    }  # fmt: skip


DOCUMENT = {
    "meeting_id": "m", "tenant_id": "acme", "transcript": "Good morning. Guten Tag. Good bye.",
    "segments": [
        _segment(0.0, "Good morning.", "SPEAKER_01"),
        _segment(1.5, "Guten Tag.", "SPEAKER_00"),
        _segment(3.0, "Good bye.", "SPEAKER_01"),
    ],
    "speakers": {}, "confidence": 0.9, "processing_time": 1.0, "language": "en", "duration": 4.2,
    "model": "whisper-base", "total_segments": 3, "total_speakers": 2, "has_diarization": True,
}  # fmt: skip
WAV = ("talk.wav", b"RIFF" * 100)


@pytest.fixture(scope="module")
def sdk(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=gateway.key().key, base_url=f"{gateway.client.base_url}/v1", max_retries=2) as client:
        yield client


def ask(gateway: GatewayProcess, sdk: openai.OpenAI, **fields: Any) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The answer to a request, the spec of its job, and the answer's headers."""
    published = {"json": json.dumps(DOCUMENT), "srt": "1\n00:00:00,000 --> 00:00:01,000\nGood morning.\n"}
    specs: list[dict[str, Any]] = []

    def work(name: str) -> None:
        specs.append(gateway.job(name)["spec"])
        formats = specs[0]["output"]["formats"]
        gateway.finish(name, artifacts={each: published[each] for each in formats})

    thread = when_created(gateway, work)
    raw = sdk.audio.transcriptions.with_raw_response.create(**{"file": WAV, "model": "whisper-1", **fields})
    thread.join()
    return raw.parse(), specs[0], dict(raw.headers)


def test_the_text_of_a_recording(gateway: GatewayProcess, sdk: openai.OpenAI):
    answer, spec, headers = ask(gateway, sdk, language="en")
    assert answer.text == DOCUMENT["transcript"]
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 5)
    assert (spec["language"], spec["output"]["formats"], spec["output"]["uri"]) == (
        "en",
        ["json"],
        "s3://steno/results",
    )
    assert "diarization" not in spec
    assert headers["x-job-id"].startswith("stt-")
    assert "x-steno-ignored" not in headers


def test_plain_text_and_subtitles(gateway: GatewayProcess, sdk: openai.OpenAI):
    text, _, headers = ask(gateway, sdk, response_format="text", model="gpt-4o-mini-transcribe-2025-12-15")
    assert text == "Good morning. Guten Tag. Good bye.\n"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    subtitles, spec, headers = ask(gateway, sdk, response_format="srt", model="whisper-base")
    assert subtitles.startswith("1\n00:00:00,000 --> ")
    assert spec["output"]["formats"] == ["json", "srt"]
    assert headers["content-type"] == "application/x-subrip; charset=utf-8"


def test_words_and_segments_as_they_are_asked_for(gateway: GatewayProcess, sdk: openai.OpenAI):
    answer, _, _ = ask(gateway, sdk, response_format="verbose_json")
    assert (answer.language, answer.duration, answer.words) == ("english", 4.2, None)
    assert [each.text for each in answer.segments] == ["Good morning.", "Guten Tag.", "Good bye."]
    assert -0.11 < answer.segments[0].avg_logprob < -0.10
    answer, _, _ = ask(gateway, sdk, response_format="verbose_json", timestamp_granularities=["word"])
    assert [each.word for each in answer.words][:2] == ["Good", "morning."]
    assert answer.segments is None
    answer, _, _ = ask(gateway, sdk, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (len(answer.words), len(answer.segments)) == (6, 3)


def test_speakers_are_letters_in_their_order(gateway: GatewayProcess, sdk: openai.OpenAI):
    answer, spec, _ = ask(
        gateway, sdk, model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )
    assert spec["diarization"] == {}
    assert [(each.speaker, each.text) for each in answer.segments] == [
        ("A", "Good morning."), ("B", "Guten Tag."), ("A", "Good bye."),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_translation_into_english(gateway: GatewayProcess, sdk: openai.OpenAI):
    specs: list[dict[str, Any]] = []

    def work(name: str) -> None:
        specs.append(gateway.job(name)["spec"])
        gateway.finish(name, {**DOCUMENT, "language": "ko"})

    thread = when_created(gateway, work)
    answer: Any = sdk.audio.translations.create(
        file=WAV, model="whisper-1", response_format="verbose_json", extra_body={"stream": "false"}
    )
    thread.join()
    assert (answer.language, answer.text, specs[0]["translate"]) == ("english", DOCUMENT["transcript"], True)
    for refused in ({"response_format": "diarized_json"}, {"extra_body": {"stream": "true"}}):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.audio.translations.create(**{"file": WAV, "model": "whisper-1", **refused})
        assert caught.value.param in ("response_format", "stream")


@pytest.mark.parametrize("response_format", ["json", "diarized_json"])
def test_a_stream_of_events(gateway: GatewayProcess, sdk: openai.OpenAI, response_format: str):
    events, _, _ = ask(gateway, sdk, stream=True, response_format=response_format)
    found = list(events)
    deltas = [each.delta for each in found if each.type == "transcript.text.delta"]
    assert len(deltas) == 3
    assert "".join(deltas) == DOCUMENT["transcript"] == found[-1].text
    assert found[-1].type == "transcript.text.done"
    speakers = [each.speaker for each in found if each.type == "transcript.text.segment"]
    assert speakers == (["A", "B", "A"] if response_format == "diarized_json" else [])


def test_what_has_no_effect_is_named(gateway: GatewayProcess, sdk: openai.OpenAI):
    _, _, headers = ask(
        gateway,
        sdk,
        prompt="Acme, Steno",
        temperature=0.4,
        keywords=["Steno"],
        extra_body={"hotwords": "x", "b\n": "y"},
    )
    assert headers["x-steno-ignored"] == "prompt, keywords, temperature, hotwords"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "whisper-9"}, (404, "model_not_found", "model")),
        ({"response_format": "xml"}, (400, "InvalidRequest", "response_format")),
        ({"temperature": 2}, (400, "InvalidRequest", "temperature")),
        ({"timestamp_granularities": ["word"]}, (400, "InvalidRequest", "timestamp_granularities")),
        ({"response_format": "srt", "stream": True}, (400, "InvalidRequest", "stream")),
        ({"language": "en", "languages": ["de"]}, (400, "InvalidRequest", "languages")),
        ({"include": ["logprobs"]}, (400, "NotSupported", "include")),
        ({"known_speaker_names": ["Ann"]}, (400, "NotSupported", "known_speaker_names")),
        ({"language": "klingon!"}, (400, "InvalidRequest", "language")),
    ],
)
def test_what_cannot_be_done_is_refused_and_costs_nothing(
    gateway: GatewayProcess, sdk: openai.OpenAI, fields: dict[str, Any], expected: tuple[int, str, str | None]
):
    before = len(gateway.jobs()), gateway.s3.keys("steno", "uploads/")
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.audio.transcriptions.create(**{"file": WAV, "model": "whisper-1", **fields})
    error = caught.value
    assert (error.status_code, error.code, error.param) == expected
    assert error.type == "invalid_request_error"
    assert (len(gateway.jobs()), gateway.s3.keys("steno", "uploads/")) == before


def test_errors_of_keys_and_addresses_have_openais_form(gateway: GatewayProcess, sdk: openai.OpenAI):
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.with_options(api_key="sk-other").models.list()
    assert (caught.value.type, caught.value.code) == ("authentication_error", "KeyInvalid")
    answer = gateway.client.put("/v1/audio/transcriptions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "MethodNotAllowed")
    assert answer.headers["allow"] == "POST"


def test_a_job_that_fails_is_not_tried_again(gateway: GatewayProcess, sdk: openai.OpenAI):
    known = len(gateway.jobs())
    failure = {"reason": "ModelUnavailable", "message": "The model cannot be downloaded."}
    thread = when_created(gateway, lambda name: gateway.finish(name, **failure))
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.audio.transcriptions.create(file=WAV, model="whisper-1")
    thread.join()
    assert (caught.value.status_code, caught.value.code) == (503, "ModelUnavailable")
    thread = when_created(gateway, lambda name: gateway.finish(name, **failure))
    with pytest.raises(openai.APIError, match="cannot be downloaded"):
        list(sdk.audio.transcriptions.create(file=WAV, model="whisper-1", stream=True))
    thread.join()
    assert len(gateway.jobs()) == known + 2


def test_a_stream_that_is_left_deletes_its_job(gateway: GatewayProcess, sdk: openai.OpenAI):
    known = len(gateway.jobs())
    with sdk.audio.transcriptions.create(file=WAV, model="whisper-1", stream=True):
        assert len(gateway.jobs()) == known + 1
    until(lambda: len(gateway.jobs()), lambda count: count == known)


def test_what_takes_too_long_goes_on(gateway: GatewayProcess, tmp_path: Path):
    with running(gateway.apiserver, gateway.s3, tmp_path, gateway.namespace, waitSeconds=0.5) as hasty:
        base = f"{hasty.client.base_url}/v1"
        with (
            openai.OpenAI(api_key=hasty.key().key, base_url=base) as sdk,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            sdk.audio.transcriptions.create(file=WAV, model="whisper-1")
    assert (caught.value.status_code, caught.value.code) == (504, "JobTimeout")
    gateway.job(caught.value.response.headers["x-job-id"])


def test_models_are_the_gateways_and_its_aliases(gateway: GatewayProcess, sdk: openai.OpenAI):
    names = [each.id for each in sdk.models.list()]
    assert names[:2] == ["whisper-base", "whisper-1"]
    assert sdk.models.retrieve("gpt-4o-transcribe").id == "gpt-4o-transcribe"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("dall-e/3")
