"""What a pool does of what a message asks for, and how it does it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import wave

import pytest
from PIL import Image

from runtime.tests.conftest import LOOPBACK, reply
from steno_api.failures import FailureReason
from steno_api.worker.report import AttemptReport
from steno_api.worker.task import TaskReporting
from steno_queue.errors import MessageMalformedError
from steno_queue.redis_streams import RedisQueue
from steno_queue.settings import QueueSettings
from steno_runtime.errors import Stopped
from steno_runtime.stt.writers import WRITERS
from steno_runtime.worker.consumer import Consumer, OperatorReports
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.warm import WarmWorker
from tests.support import queues

from .consuming import POOL, WEB, Pool, message_of, pool_task
from .test_publish import transcript


def with_source(**fields):
    return WEB | {"source": WEB["source"] | fields}


@pytest.mark.parametrize(
    ("changes", "message", "why"),
    [
        ({}, {"id": "uid-2/1"}, "the message's id is not that of its attempt"),
        ({}, {"source": "/steno/team-a/other"}, "it is for /steno/team-a/other"),
        ({"job": {"namespace": "team-b", "name": "a", "uid": "uid-1"}}, {}, "in another namespace"),
        (with_source(path="/etc/passwd"), {}, "a pod of its own"),
        (with_source(uriFile="/var/run/secrets/steno/token"), {}, "uriSecretRef needs a pod of its own"),
        ({"output": WEB["output"] | {"path": "/models"}}, {}, "a pod of its own"),
        (with_source(credentialsDir="/var/run/secrets/x"), {}, "a Secret that the pool does not list"),
        ({"model": {"name": "large-v3"}}, {}, "another model than whisper-base"),
        ({"diarization": {"tokenSecretRef": {"name": "hf"}}}, {}, "tokenSecretRef needs a pod of its own"),
        ({}, {"data": {"kind": "VideoTask"}}, "Use a runtime image of the operator's version"),
    ],
)  # fmt: skip
async def test_what_a_pool_does_not_do_is_a_dead_letter_that_says_why(make_task, tmp_path, changes, message, why):
    pool = Pool(tmp_path)
    await pool.queue.publish(message_of(make_task(**WEB | changes), **message))
    async with pool.consumed():
        await pool.empty()
    (letter,) = await pool.queue.dead_letters()
    assert why in letter.reason
    assert pool.worker.begun == []
    assert pool.operator.reports == []


def test_a_job_is_of_the_tenant_that_pays_whatever_label_the_pool_has(make_task, tmp_path):
    worker = WarmWorker(pool_task(tmp_path), None)
    assert worker.task_of(message_of(make_task(**WEB | {"tenant": "payer"}))).tenant == "payer"


@pytest.mark.parametrize("folder", ["secrets/s3/..", "secrets/..", "secrets/a/b", "secrets/../secrets/s3", "secrets"])
def test_credentials_are_those_of_one_of_the_pools_secrets(make_task, tmp_path, folder):
    worker = WarmWorker(pool_task(tmp_path), None)
    fine = make_task(**with_source(credentialsDir=str(tmp_path / "secrets" / "s3")))
    assert worker.task_of(message_of(fine)).source == fine.source
    with pytest.raises(MessageMalformedError, match="a Secret that the pool does not list"):
        worker.task_of(message_of(make_task(**with_source(credentialsDir=f"{tmp_path}/{folder}"))))


def test_where_and_how_it_is_done_is_the_pools_to_say(make_task, tmp_path):
    asked = make_task(
        **WEB,
        device="cuda",
        modelStore="/elsewhere",
        scratchDir="/etc",
        hubDownloads="Any",
        modelDigests={"tiny": "1" * 64},
        reporting={"url": "http://elsewhere", "tokenFile": "/etc/passwd"},
    )
    done = WarmWorker(pool_task(tmp_path), None).task_of(message_of(asked))
    pool = pool_task(tmp_path)
    assert (done.device, done.model_store, done.scratch_dir) == (pool.device, pool.model_store, pool.scratch_dir)
    assert done.model_digests == pool.model_digests == {}
    assert (done.hub_downloads, done.egress, done.reporting) == (pool.hub_downloads, pool.egress, None)
    assert asked.egress == LOOPBACK != done.egress


def test_m12_how_slow_a_source_may_be_is_the_pools_to_say(make_task, tmp_path):
    asked = make_task(**with_source(minBytesPerSecond=0))
    done = WarmWorker(pool_task(tmp_path), None).task_of(message_of(asked))
    assert asked.source.min_bytes_per_second == 0
    assert done.source.min_bytes_per_second == pool_task(tmp_path).min_source_bytes_per_second > 0


def test_one_that_waits_for_its_turn_can_be_stopped(tmp_path):
    worker, stop = WarmWorker(pool_task(tmp_path), None), StopRequest()
    with worker._turn(lambda: None):
        stop.request()
        with pytest.raises(Stopped), worker._turn(stop.check):
            pass
    with worker._turn(lambda: None):
        pass


class SilentEngine:
    """An engine that is never asked: there is no speech in silence."""

    device, workers, batch_size, languages = "cpu", 1, 1, frozenset({"en"})

    def share(self, _):
        return contextlib.nullcontext(self)


def silence(path, seconds: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000 * seconds))


@pytest.mark.parametrize(
    ("seconds", "changes", "brief"),
    [(59, {}, True), (61, {}, False), (2, {"diarization": {}}, False)],
)
async def test_an_attempt_is_brief_if_its_recording_is_short_and_no_model_is_loaded_for_it(
    make_task, tmp_path, seconds, changes, brief
):
    silence(tmp_path / "a.wav", seconds)
    worker, said = WarmWorker(pool_task(tmp_path), SilentEngine()), []
    await asyncio.to_thread(
        worker.work, make_task(**changes), StopRequest(), lambda _: None, on_brief=lambda: said.append("brief")
    )
    assert said == ["brief"] * brief


async def test_attempts_that_share_the_engine_do_not_wait_for_a_turn(make_task, tmp_path):
    silence(tmp_path / "a.wav", 1)
    worker = WarmWorker(pool_task(tmp_path), SilentEngine())
    with worker._turn(lambda: None):
        ended = await asyncio.to_thread(worker.work, make_task(), StopRequest(), lambda _: None)
    assert ended.result.outcome == "Succeeded", ended


async def test_a_failed_attempt_has_its_reason(make_task, web, tmp_path):
    worker = WarmWorker(pool_task(tmp_path, egress=LOOPBACK), SilentEngine())
    task = make_task(source={"uri": web.url + "/absent.wav"}, output=WEB["output"])
    asked = task.model_copy(update={"output": task.output.model_copy(update={"path": str(tmp_path / "out")})})
    ended = await asyncio.to_thread(worker.work, asked, StopRequest(), lambda _: None)
    assert ended.result.reason is FailureReason.SOURCE_NOT_FOUND


async def test_a_transcript_that_somebody_else_wrote_is_not_the_pools_result(make_task, web, tmp_path):
    """The keys are those of the job, which the operator gives to a server of its pool."""
    web.routes["/v1/result-keys"] = reply(200, json.dumps({"keys": ["11" * 32]}).encode())
    (tmp_path / "token").write_text("tok")
    reporting = TaskReporting(url=web.url, token_file=str(tmp_path / "token"))
    worker = WarmWorker(pool_task(tmp_path, egress=LOOPBACK, reporting=reporting), SilentEngine())
    task = make_task(source={"uri": web.url + "/absent.wav"})
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "transcript.json").write_bytes(WRITERS["json"](transcript()))
    ended = await asyncio.to_thread(worker.work, task, StopRequest(), lambda _: None)
    assert ended.result.reason is FailureReason.OUTPUT_FORBIDDEN
    (asked,) = web.bodies_of("/v1/result-keys")
    assert json.loads(asked) == {"resource": task.job.to_wire(), "pool": POOL.to_wire()}
    again = await asyncio.to_thread(worker.work, task, StopRequest(), lambda _: None, keys=[b"\x11" * 32])
    assert again.result.reason is FailureReason.OUTPUT_FORBIDDEN
    assert web.bodies_of("/v1/result-keys") == [asked], "the operator has named the keys already"


@pytest.mark.parametrize(("short", "reason"), [(None, None), (2.0, None), (0.5, FailureReason.TOO_LONG_FOR_POOL)])
async def test_what_may_have_a_pod_of_its_own_is_handed_back_if_it_is_long(make_task, tmp_path, short, reason):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000))
    task = make_task(onlyShort=None if short is None else {"audioSeconds": short})
    worker = WarmWorker(pool_task(tmp_path), SilentEngine())
    ended = await asyncio.to_thread(worker.work, task, StopRequest(), lambda _: None)
    assert getattr(ended.result, "reason", None) is reason, ended.result
    if reason is not None:
        assert "longer than" in ended.result.message
        assert ended.used is None or ended.used.audio_millis == 0


async def test_pages_are_handed_back_if_there_are_too_many(make_ocr_task, tmp_path):
    page = Image.new("L", (40, 20), 255)
    page.save(tmp_path / "a.tiff", save_all=True, append_images=[page], dpi=(20, 20))
    source = {"uri": "pvc://scans/a.tiff", "path": str(tmp_path / "a.tiff")}
    task = make_ocr_task(source=source, onlyShort={"pages": 1})
    ended = await asyncio.to_thread(WarmWorker(pool_task(tmp_path), None).work, task, StopRequest(), lambda _: None)
    assert ended.result.reason is FailureReason.TOO_LONG_FOR_POOL
    assert ended.result.message == "2 pages are more than the 1 allowed; a pod of its own reads them."


@pytest.mark.slow
async def test_from_redis_to_the_bucket_with_reports_over_http(make_task, web, s3, tmp_path):
    """Two recordings: both are published once, reported, and gone from the queue."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000))
    source = {"uri": web.serve("/a.wav", (tmp_path / "a.wav").read_bytes())}
    secret = s3.credentials(tmp_path / "secrets" / "s3")
    reports, recorded = [], threading.Event()

    def take(handler):
        report = AttemptReport.model_validate_json(handler.body)
        reports.append(report)
        ends = {each.job.uid for each in reports if each.ended}
        reply(200, json.dumps({"recorded": bool(report.ended)}).encode())(handler)
        if len(ends) == 2:
            recorded.set()

    web.routes["/v1/attempts/reports"] = take
    (tmp_path / "token").write_text("tok")
    with queues.redis(tmp_path) as port:
        queue = RedisQueue(QueueSettings(kind="RedisStreams", url=f"redis://127.0.0.1:{port}", name="team-a/warm"))
        for uid in ("uid-1", "uid-2"):
            output = {"uri": f"s3://transcripts/team-a/silence/{uid}", "endpointURL": s3.endpoint, "formats": ["json"]}
            task = make_task(
                job={"namespace": "team-a", "name": uid, "uid": uid},
                source=source,
                output=output | {"credentialsDir": secret},
            )
            await queue.publish(message_of(task))
        worker = WarmWorker(pool_task(tmp_path, egress=LOOPBACK), SilentEngine(), at_once=2)
        operator = OperatorReports(TaskReporting(url=web.url, token_file=str(tmp_path / "token")))
        consumer = Consumer(queue, worker, operator, pool=POOL, heartbeat_seconds=5, report_seconds=5)
        running = asyncio.create_task(consumer.run())
        assert await asyncio.to_thread(recorded.wait, 60)
        await consumer.drain(asyncio.get_running_loop().time() + 20)
        await running
        depth = await queue.depth()
        await queue.aclose()
        await operator.aclose()
    assert (depth.waiting, depth.in_flight) == (0, 0)
    ends = {report.job.uid: report.ended for report in reports if report.ended}
    assert {uid: ended.result.outcome for uid, ended in ends.items()} == {"uid-1": "Succeeded", "uid-2": "Succeeded"}
    assert {ended.used.audio_millis for ended in ends.values()} == {1000}
    for uid in ends:
        assert f"team-a/silence/{uid}/manifest.json" in s3.keys("transcripts")
    assert {headers["authorization"] for path, headers in web.requests if path.startswith("/v1/")} == {"Bearer tok"}
