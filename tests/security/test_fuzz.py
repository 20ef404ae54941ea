"""Random bytes and messages wherever strangers, or pods that were taken over, send some: a reason, and no crash.

Few in `make test`, always the same; thousands of new ones in `make test-long`.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import wave
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import websockets
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.tests.ocr.test_damaged import MUTATIONS, damaged, picture
from runtime.tests.serve.conftest import RunningServer, TokenIssuer, WebSocketClient, run_server
from steno_api.failures import FailureReason
from steno_api.server.reports import PoolReport
from steno_api.worker.report import Report
from steno_api.worker.termination import Succeeded
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.reports.pools import take_pool_report
from steno_operator.control.reports.server import take_job_report
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.plan.common.pods import parse_result
from steno_runtime import sandbox
from steno_runtime.errors import WorkError
from steno_runtime.media.sandboxed import MODULES, read_recording_sandboxed
from steno_runtime.ocr.open import DECODERS
from steno_runtime.ocr.page import Limits, PageError
from steno_runtime.ocr.sandboxed import SandboxedSource
from tests.support.properties import slow_examples

pytestmark = pytest.mark.long

T = TypeVar("T")
REFUSED = {FailureReason.UNSUPPORTED_MEDIA, FailureReason.TOO_LARGE, FailureReason.ENCRYPTED}
CLOSED = {1000, 1003, 1007, 1009, 4000, 4001, 4003, 4008}
"""What a session that a client ends, or breaks, is closed with; 1011 would be a defect."""

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["Succeeded", "Failed", "2026-01-01T00:00:00Z", "s3://b/k", 10**400, -1, math.nan])
)  # fmt: skip
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def mostly(usual: st.SearchStrategy[Any], *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return `usual`, and one of the others at one time in twenty: `one_of` counts what is given twice once."""
    return st.integers(0, 19).flatmap(lambda number: st.one_of(*others) if number == 13 else usual)


def changed(document: Any) -> st.SearchStrategy[Any]:
    """Return documents that are like `document`, and anything in some places."""
    if isinstance(document, dict):
        fields = {key: changed(value) for key, value in document.items()}
        return mostly(st.fixed_dictionaries(fields), st.fixed_dictionaries({}, optional=fields), ANY_JSON)
    if isinstance(document, list):
        return mostly(
            st.tuples(*map(changed, document)).map(list), st.lists(changed(document[0]), max_size=3), ANY_JSON
        )
    return mostly(st.just(document), ANY_JSON)


SUCCESS = {
    "result": {
        "outcome": "Succeeded", "manifest": "s3://b/ns/a/u1/manifest.json",
        "artifacts": [
            {"name": "transcript", "format": "json", "uri": "s3://b/ns/a/u1/a.json", "sha256": "0" * 64, "bytes": 12},
        ],
        "warnings": [{"reason": "NoSpeech", "message": "Nothing was said.", "count": 1}],
        "summary": {
            "duration": 30.0, "language": "en", "segments": 5, "processingSeconds": 3.0, "speed": 10.0, "model": "base",
        },
    }
}  # fmt: skip
REF = {"namespace": "ns", "name": "a", "uid": "u1"}
JOB_REPORT = {"job": REF, "attempt": 1, "progress": {"stage": "Decoding", "percent": 40}}
SESSION = {
    "session": REF, "started": "2026-01-01T00:00:00Z", "stats": {"audioSeconds": 1.5, "segments": 1},
    "result": {"reason": "ClientEnded", "time": "2026-01-01T00:01:00Z", "manifest": "s3://b/ns/a/u1/manifest.json"},
}  # fmt: skip
POOL_REPORT = {"pool": REF, "sessions": [SESSION]}
POD = PodIdentity("ns", "a-1-x", "pod-1")


def test_what_is_changed_is_accepted_as_it_is():
    assert isinstance(parse_result(json.dumps(SUCCESS)), Succeeded)
    assert Report.model_validate(JOB_REPORT).attempt == 1
    assert len(PoolReport.model_validate(POOL_REPORT).sessions) == 1


@settings(slow_examples(200, 5_000))
@given(changed(SUCCESS))
def test_termination_messages(message):
    result = parse_result(json.dumps(message))
    if isinstance(result, Succeeded):
        assert all(math.isfinite(each) and each >= 0 for each in _numbers(result.summary.to_wire()))


@settings(slow_examples(200, 5_000))
@given(changed(JOB_REPORT), changed(POOL_REPORT))
def test_reports(job, pool):
    for model, document, take in ((Report, job, take_job_report), (PoolReport, pool, take_pool_report)):
        try:
            report = model.model_validate_json(json.dumps(document))
        except ValidationError:
            continue
        assert take(ClusterState(), POD, report)[0] in (403, 409)


def _numbers(document: Any) -> Iterator[float]:
    if isinstance(document, dict):
        for value in document.values():
            yield from _numbers(value)
    elif isinstance(document, int | float):
        yield document


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, media: dict[str, Path]) -> dict[str, bytes]:
    sandbox.prepare(*MODULES, *DECODERS)
    short = tmp_path_factory.mktemp("short") / "a.wav"
    with wave.open(str(media["wav"])) as whole, wave.open(str(short), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(16_000))
    compressed = {name: media[name].read_bytes()[:60_000] for name in ("mp3", "ogg", "webm", "m4a")}
    return {"wav": short.read_bytes(), **compressed}


@pytest.mark.slow
@settings(slow_examples(60, 1_500))
@given(kind=st.sampled_from(["wav", "mp3", "ogg", "webm", "m4a"]), mutations=MUTATIONS)
def test_recordings(recordings, tmp_path_factory, kind, mutations):
    path = tmp_path_factory.mktemp("fuzz") / f"a.{kind}"
    path.write_bytes(damaged(recordings[kind], mutations))
    refused: WorkError | None = None
    try:
        recording = read_recording_sandboxed(path, check=lambda: None, max_seconds=60.0)
        assert 0 <= recording.duration <= 60
    except WorkError as error:
        refused = error
    path.unlink()
    assert refused is None or refused.reason in REFUSED, refused


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from fpdf import FPDF

    folder = tmp_path_factory.mktemp("documents")
    picture().save(folder / "a.png")
    picture().save(folder / "a.jpg")
    picture().save(folder / "a.tif", compression="tiff_lzw", save_all=True, append_images=[picture().convert("L")])
    pdf = FPDF()
    pdf.set_compression(False)
    pdf.set_font("helvetica", size=12)
    pdf.add_page()
    pdf.cell(0, 8, "Harbour repairs")
    pdf.output(str(folder / "a.pdf"))
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@settings(slow_examples(60, 1_500))
@given(kind=st.sampled_from([".png", ".jpg", ".tif", ".pdf"]), mutations=MUTATIONS, reuse_text=st.booleans())
def test_documents(documents, tmp_path_factory, kind, mutations, reuse_text):
    sandbox.prepare(*MODULES, *DECODERS)
    path = tmp_path_factory.mktemp("fuzz") / f"a{kind}"
    path.write_bytes(damaged(documents[kind], mutations))
    refused: WorkError | PageError | None = None
    try:
        with closing(SandboxedSource(path, Limits(max_pixels=2_000_000), reuse_text=reuse_text)) as source:
            source.load(1)
    except (WorkError, PageError) as error:
        refused = error
    path.unlink()
    assert refused is None or refused.reason in REFUSED, refused


class ServerThread:
    """A server with a scripted engine, on an event loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.issuer = TokenIssuer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server: RunningServer = self.run(lambda: run_server(self.issuer, folder))

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(120)

    def close(self) -> None:
        self.run(self.server.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    thread = ServerThread(tmp_path_factory.mktemp("live"))
    yield thread
    thread.close()


START = {
    "type": "start_session", "sample_rate": 16_000, "encoding": "pcm_s16le", "language": "en", "interim_results": True,
    "session_id": "call", "tenant_id": "acme",
}  # fmt: skip
MESSAGES = mostly(
    st.one_of(
        changed({"type": "audio_chunk", "audio_data": "AAAA"}).map(json.dumps),
        st.binary(min_size=8, max_size=3000),
        st.sampled_from(["finalize", "keep_alive", "ping"]).map(lambda kind: json.dumps({"type": kind})),
    ),
    changed(START).map(json.dumps),
    st.text(max_size=200),
    st.binary(max_size=200).map(lambda data: b"\x1aE\xdf\xa3" + data),
    st.binary(max_size=200).map(lambda data: b"OggS" + data),
)


@pytest.mark.slow
@settings(slow_examples(100, 2_000))
@given(begin=st.booleans(), messages=st.lists(MESSAGES, max_size=8))
def test_websocket_messages(live, begin, messages):
    async def talk() -> int:
        async with live.server.connect(live.issuer.token()) as socket:
            ws = WebSocketClient(socket)
            try:
                if begin:
                    await ws.start()
                for message in messages:
                    await socket.send(message)
                await ws.send("end_session")
            except websockets.ConnectionClosed:
                pass
            return await ws.closed()

    async def behave() -> None:
        async with live.server.connect(live.issuer.token()) as socket:
            ws = WebSocketClient(socket)
            await ws.start()
            await socket.send(b"\x01\x02" * 16_000)
            assert (await ws.end())[1] == 1000
            assert len(ws.texts()) == 1

    assert live.run(talk) in CLOSED
    live.run(behave)
