"""The whole way, with a real model: from a recording to published documents, and the interruptions on it."""

from __future__ import annotations

import hashlib
import signal
import threading

import numpy as np
import pytest

from steno_api.documents.manifest import Manifest
from steno_api.documents.transcript import Transcript
from steno_api.failures import FailureReason
from steno_api.worker.report import Report
from steno_api.worker.termination import Succeeded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def reports(web, tmp_path):
    """Where workers report to: `reports.task` is for the task, `reports.wait(stage)` waits for a stage."""

    class Reports:
        def __init__(self) -> None:
            (tmp_path / "token").write_text("tok")
            self.task = {"url": web.url, "tokenFile": str(tmp_path / "token"), "intervalSeconds": 0.2}
            self.arrival = threading.Condition()

        def __call__(self, handler):
            handler.send_response(202)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            with self.arrival:
                self.arrival.notify_all()

        def all(self) -> list[Report]:
            return [Report.model_validate_json(body) for body in web.bodies_of("/v1/reports")]

        def wait(self, stage: str) -> None:
            with self.arrival:
                assert self.arrival.wait_for(lambda: stage in {r.progress.stage for r in self.all()}, timeout=240)

    collector = Reports()
    web.routes["/v1/reports"] = collector
    return collector


def test_from_a_web_server_to_a_bucket_with_progress(make_task, web, start, s3, reports, media, tmp_path):  # noqa: PLR0917
    source = {"uri": web.serve("/standup.mp3", media["mp3"].read_bytes())}
    output = {
        "uri": "s3://transcripts/team-a/standup/uid-1",
        "endpointURL": s3.endpoint,
        "credentialsDir": s3.credentials(tmp_path / "secret"),
        "formats": ["srt", "json", "vtt", "txt"],
    }
    task = make_task(
        source=source, output=output, reporting=reports.task, diarization={"minSpeakers": 2, "maxSpeakers": 2},
        metadata={"user_id": "user_xyz"},
    )  # fmt: skip
    ended = start(task).ended(timeout=500)
    assert ended.code == 0, ended.log
    assert isinstance(ended.result, Succeeded)
    assert ended.result.manifest == f"{output['uri']}/manifest.json"

    prefix = "team-a/standup/uid-1/"
    files = {
        key.removeprefix(prefix): s3.client.get_object(Bucket="transcripts", Key=key)["Body"].read()
        for key in s3.keys("transcripts")
        if key.startswith(prefix)
    }
    assert set(files) == {"manifest.json", "transcript.json", "transcript.srt", "transcript.vtt", "transcript.txt"}
    manifest = Manifest.model_validate_json(files["manifest.json"])
    assert manifest.artifacts == ended.result.artifacts
    assert manifest.summary == ended.result.summary
    for artifact in manifest.artifacts:
        assert hashlib.sha256(files[artifact.name]).hexdigest() == artifact.sha256
    transcript = Transcript.model_validate_json(files["transcript.json"])
    assert (transcript.meeting_id, transcript.tenant_id, transcript.language) == ("standup-42", "acme", "en")
    assert transcript.metadata == manifest.metadata == task.metadata == {"user_id": "user_xyz"}
    assert transcript.duration == pytest.approx(30, abs=0.1)
    assert transcript.total_speakers == 2
    assert manifest.summary.words > 40
    speed = transcript.duration / transcript.processing_time
    assert manifest.summary.speed == pytest.approx(speed, rel=0.01, abs=0.005)  # it is rounded to two digits

    percents = [report.progress.percent for report in reports.all()]
    assert percents == sorted(percents)
    stages = {report.progress.stage for report in reports.all()}
    assert {"LoadingModel", "Decoding", "Diarizing"} <= stages
    for segment in transcript.segments:
        assert segment.text.strip() not in ended.log
    assert not list((tmp_path / "scratch").iterdir())

    again = start(make_task(attempt=2, source=source, output=output)).ended()
    assert (again.code, again.result) == (0, ended.result)


def test_silence_is_an_empty_transcript_and_no_failure(make_task, start, tmp_path):
    import av

    with av.open(str(tmp_path / "a.wav"), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 80_000), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    ended = start(make_task()).ended(timeout=300)
    assert ended.code == 0, ended.log
    assert (ended.result.summary.segments, ended.result.summary.words) == (0, 0)


def test_a_model_that_does_not_exist(make_task, start, sample_wav, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a.wav").write_bytes(sample_wav.read_bytes())
    ended = start(make_task(model={"name": "no-such-model"})).ended(timeout=300)
    assert ended.result.reason in (FailureReason.MODEL_NOT_FOUND, FailureReason.MODEL_UNAVAILABLE)
    assert "no-such-model" in ended.result.message
    assert b"Traceback" not in ended.message


def test_sigterm_while_decoding_publishes_nothing_and_the_next_attempt_does_it(
    make_task, start, reports, sample_wav, tmp_path
):
    import av

    with av.open(str(tmp_path / "a.wav"), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for _ in range(20):
            with av.open(str(sample_wav)) as source:
                for frame in source.decode(audio=0):
                    frame.pts = None
                    target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    worker = start(make_task(reporting=reports.task))
    reports.wait("Decoding")
    worker.process.send_signal(signal.SIGTERM)
    ended = worker.ended(timeout=25)
    assert (ended.code, ended.result.reason) == (143, FailureReason.PREEMPTED)
    assert not list((tmp_path / "results").iterdir())

    (tmp_path / "a.wav").write_bytes(sample_wav.read_bytes())
    assert start(make_task(attempt=2)).ended(timeout=300).code == 0
    assert (tmp_path / "results" / "manifest.json").exists()
