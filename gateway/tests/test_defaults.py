"""The chart's defaults of jobs: what a client does not choose stays, also beside what it chooses of the same field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import GatewayProcess, bearer, running

HUB = {"tokenSecretRef": {"name": "hub"}}
SPEECH = {"model": {"name": "whisper-base"}, "language": "ko", "diarization": HUB | {"maxSpeakers": 4}}
URL = "https://example.com/call.wav"


@pytest.fixture(scope="module")
def gateway(apiserver, s3, tmp_path_factory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("defaults")
    with running(apiserver, s3, folder, apiserver.namespace(), transcription=SPEECH) as process:
        yield process


def created(gateway: GatewayProcess, path: str, name: str, body: dict[str, Any]) -> Any:
    """The spec of the job that a request creates."""
    answer = gateway.client.post(path, headers=bearer(gateway.key().key), json=body)
    assert answer.status_code == 202, answer.text
    return gateway.job(answer.json()[name])["spec"]


def test_what_a_client_leaves_out(gateway: GatewayProcess):
    spec = created(gateway, "/stt/process?async=true", "job_id", {"audio_url": URL})
    assert (spec["language"], spec["diarization"]) == ("ko", HUB | {"maxSpeakers": 4})


def test_what_a_client_chooses_of_a_field(gateway: GatewayProcess):
    chosen = {"audio_url": URL, "language": "auto", "min_speakers": 2, "max_speakers": 3}
    spec = created(gateway, "/stt/process?async=true", "job_id", chosen)
    assert (spec["language"], spec["diarization"]) == ("auto", HUB | {"minSpeakers": 2, "maxSpeakers": 3})
    chosen = {"source": {"uri": URL}, "language": "en", "diarization": {"maxSpeakers": 2}}
    spec = created(gateway, "/v1/jobs", "id", {"kind": "TranscriptionJob", "spec": chosen})
    assert (spec["language"], spec["diarization"]) == ("en", HUB | {"maxSpeakers": 2})


@pytest.mark.parametrize("chosen", [{"diarize": False}, {"channels": "split"}])
def test_a_client_that_wants_no_diarization(gateway: GatewayProcess, chosen: dict[str, Any]):
    spec = created(gateway, "/stt/process?async=true", "job_id", {"audio_url": URL, **chosen})
    assert spec.get("diarization") is None
