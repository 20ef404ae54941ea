"""What uploads used is reported to the operator, and what it says of the Tenant's limits is obeyed."""

from __future__ import annotations

import io

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import MAX_UPLOAD_REPORTS
from steno_api.usage import Work
from steno_api.v1alpha1.job import Stage
from steno_runtime.progress import ProgressUpdate
from steno_runtime.serve.metering import UploadMeter

from .conftest import Endpoint, StartServer, TokenIssuer
from .rest_support import problem


async def test_h5_uploads_are_reported_and_refused_once_the_minutes_are_used_up(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, pipeline, sample_wav
):
    server = await start_server(reporting=endpoint.reporting)
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(issuer.token(uid="uid-1", name="standup")) as client:
        for _ in range(2):
            assert (await client.post("/stt/upload", files=files)).status_code == 200
        report = await endpoint.wait_for_report(lambda report: report.uploads[0].used.audio_millis == 60_000)
        assert report.process
        assert report.uploads[0].session.to_wire() == {"namespace": "team-a", "name": "standup", "uid": "uid-1"}
        assert not report.uploads[0].active
        endpoint.answer(end=[], known=[], exhausted=["Audio"])
        count = len(endpoint.reports)
        await endpoint.wait_for_report(lambda _: len(endpoint.reports) > count + 2)
        refused = await client.post("/stt/upload", files=files)
        assert problem(refused) == (429, "QuotaExceeded")
        assert "minutes of audio" in refused.json()["detail"]
        assert problem(await client.post("/stt/process", json={"audio_url": "https://a/b"})) == (429, "QuotaExceeded")
        assert problem(await client.post("/ocr/process", files=files)) != (429, "QuotaExceeded")
        endpoint.answer(end=[], known=[], exhausted=["Pages"])
        count = len(endpoint.reports)
        await endpoint.wait_for_report(lambda _: len(endpoint.reports) > count + 2)
        assert problem(await client.post("/ocr/process", files=files)) == (429, "QuotaExceeded")
        assert (await client.post("/stt/upload", files=files)).status_code == 200
    endpoint.answer(end=[], known=[], charged=["uid-1"])
    await endpoint.wait_for_report(lambda _: endpoint.reports[-1].uploads == [])


async def test_an_upload_that_is_stopped_is_reported_as_far_as_it_came(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, sample_wav
):
    def stops(samples, options, *, on_progress, **_):
        on_progress(ProgressUpdate(Stage.DECODING, 0.5, audio_seconds=12.0))
        raise MemoryError

    monkeypatch.setattr("steno_runtime.serve.uploads.transcription.transcribe", stops)
    server = await start_server(reporting=endpoint.reporting)
    async with server.client(issuer.token(uid="uid-1", name="standup")) as client:
        response = await client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())})
        assert response.status_code == 503
    await endpoint.wait_for_report(lambda report: report.uploads[0].used == Work(audio_millis=12_000))


async def test_documents_by_grpc_are_reported_and_refused_likewise(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint
):
    server = await start_server(reporting=endpoint.reporting)
    blank = io.BytesIO()
    Image.new("L", (300, 200), 255).save(blank, "PNG")
    request = ocr_pb2.DocumentRequest(content=blank.getvalue())
    metadata = (("authorization", f"Bearer {issuer.token(uid='uid-1', name='standup')}"),)
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = ocr_pb2_grpc.OCRServiceStub(channel)
        await stub.ProcessDocument(request, metadata=metadata)
        await endpoint.wait_for_report(lambda report: report.uploads[0].used == Work(pages=1))
        endpoint.answer(end=[], known=[], exhausted=["Pages"])
        count = len(endpoint.reports)
        await endpoint.wait_for_report(lambda _: len(endpoint.reports) > count + 2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ProcessDocument(request, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def claims(uid: str) -> SessionClaims:
    return SessionClaims(aud="a", sub="team-a/standup", iat=0, exp=1, uid=uid, tenant="acme", meetingID="m")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
def test_what_is_said_of_a_session_only_grows_and_is_the_sum_of_its_uploads(steps):
    meter, jobs, said = UploadMeter(reported=True), [], Work()
    for begins, pages in steps:
        if begins or not jobs:
            jobs.append(meter.begin(claims("u")))
        elif pages == 0:
            meter.end(claims("u"), jobs[0])
        else:
            jobs[-1].count(ProgressUpdate(Stage.RECOGNIZING, pages=pages))
        [report] = meter.reports()
        assert report.used == said.union(report.used)
        said = report.used
    for job in jobs:
        meter.end(claims("u"), job)
    assert all(each.used == said and not each.active for each in meter.reports())


def test_very_many_sessions_are_reported_in_turn():
    meter = UploadMeter(reported=True)
    for number in range(MAX_UPLOAD_REPORTS + 100):
        meter.end(claims(f"u{number}"), meter.begin(claims(f"u{number}")))
    seen = {each.session.uid for _ in range(2) for each in meter.reports()}
    assert len(seen) == MAX_UPLOAD_REPORTS + 100


def test_nothing_is_remembered_that_nobody_asks_for():
    meter = UploadMeter(reported=False)
    meter.begin(claims("u"))
    assert meter.reports() == []
