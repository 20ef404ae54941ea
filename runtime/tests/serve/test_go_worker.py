"""The worker in Go: it drains a pool's queue, has a runtime server read, and publishes what a server publishes itself.

Redis, the S3 server, the runtime server with its engines, and both consumers are real.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hack import tools
from runtime.tests.conftest import S3, Web, reply
from runtime.tests.ocr.render import page
from steno_api.model import ObjectRef
from steno_api.worker.task import ShortSource, TaskOutput, TaskSource, TranscriptionTask
from steno_api.worker.termination import Failed, Succeeded
from steno_runtime.worker.consumer import UNPROVEN
from tests.support import queues

from .conftest import TokenIssuer, run_server
from .go_worker_support import Bench, Gate
from .queue_support import SECONDS


@pytest.fixture
async def bench(tmp_path: Path, issuer: TokenIssuer, s3: S3) -> AsyncIterator[Bench]:
    (tmp_path / "redis").mkdir()
    with queues.redis(tmp_path / "redis") as port:
        server = await run_server(issuer, tmp_path, anonymous=True, tokenKeys=[], tenant="local")
        made = Bench(tmp_path, s3, port, server)
        yield made
        await made.close()
        await server.stop()
    for name in s3.keys("transcripts"):
        s3.client.delete_object(Bucket="transcripts", Key=name)


@pytest.fixture(scope="module")
def scan() -> bytes:
    file = io.BytesIO()
    page("en", 1).image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pdf() -> bytes:
    file = io.BytesIO()
    first, second = (page(language, 2).image for language in ("en", "ko"))
    first.save(file, "PDF", resolution=200, save_all=True, append_images=[second])
    return file.getvalue()


def outcome(result: Succeeded | Failed, bench: Bench, name: str) -> Any:
    """Return all of a result that does not depend on who made it, and when."""
    if isinstance(result, Failed):
        return result.reason
    manifest = bench.manifest(name)
    assert (result.artifacts, result.summary, result.warnings) == (
        manifest.artifacts, manifest.summary, manifest.warnings,
    )  # fmt: skip
    files: dict[str, Any] = {it.name: bench.object(name, it.name) for it in manifest.artifacts}
    if "pages.json" in files:
        files["pages.json"] = json.loads(files["pages.json"]) | {"processing_time": None}
    if "searchable.pdf" in files:  # has the time in it
        files["searchable.pdf"] = files["searchable.pdf"][:5]
    timed = {"created_at", "job", "proof", "artifacts"}
    summary = manifest.summary.model_dump(exclude={"processing_seconds", "pages_per_second"})
    names = [(it.format, it.name) for it in manifest.artifacts]
    return files, names, summary, manifest.model_dump(exclude=timed | {"summary", "source_uri"})


@pytest.mark.slow
async def test_go_and_python_workers_drain_one_queue_with_the_results_of_python_alone(
    bench: Bench, web: Web, scan: bytes, pdf: bytes
):
    jobs: dict[str, tuple[bytes, dict[str, Any]]] = {
        "scan": (scan, {}),
        "all": (pdf, {"formats": ["json", "markdown", "pdf", "txt"]}),
        "text": (scan, {"formats": ["txt"], "languages": ["en"]}),
        "page": (pdf, {"pages": "2", "engine": "Tesseract", "languages": ["ko", "en"]}),
        "force": (scan, {"mode": "Force"}),
        "empty": (b"", {}),
        "noise": (b"neither a picture nor a document", {}),
        "long": (pdf, {"only_short": ShortSource(pages=1)}),
        "language": (scan, {"languages": ["tlh"]}),
        "large": (scan, {"source": {"max_bytes": 1000}}),
    }

    async def run(prefix: str, answer: Callable[[bytes], Any]) -> dict[str, Any]:
        for name, (data, fields) in jobs.items():
            web.routes[f"/{prefix}/{name}"] = answer(data)
            await bench.publish(f"{prefix}-{name}", f"{web.url}/{prefix}/{name}", **fields)
        await bench.publish(f"{prefix}-missing", f"{web.url}/{prefix}/missing")
        await bench.publish(f"{prefix}-forbidden", f"{web.url.replace('127.0.0.1', '127.0.0.2')}/x")
        names = [*jobs, "missing", "forbidden"]
        ends = await bench.done(*(f"{prefix}-{name}" for name in names))
        return {
            name: await asyncio.to_thread(outcome, ends[f"{prefix}-{name}"], bench, f"{prefix}-{name}")
            for name in names
        }

    async with bench.python():
        alone = await run("alone", lambda data: reply(200, data))
    together = threading.Event()
    gates: list[Gate] = []

    def gated(data: bytes) -> Gate:
        gates.append(Gate(data, go_on=together))
        return gates[-1]

    async def both() -> None:
        """Let the sources be read once three attempts wait for theirs: one consumer has two at a time."""
        async with asyncio.timeout(SECONDS):
            while sum(gate.asked for gate in gates) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        together.set()

    go = await bench.start_go()
    async with bench.python():
        _, side_by_side = await asyncio.gather(both(), run("both", gated))
        go.send_signal(signal.SIGTERM)
        assert await go.wait() == 0
    assert side_by_side == alone
    assert [name for name, result in alone.items() if isinstance(result, str)] == [
        "empty", "noise", "long", "language", "large", "missing", "forbidden",
    ]  # fmt: skip
    assert await bench.queue.dead_letters() == []
    assert '"result":"Succeeded"' in bench.logged()


@pytest.mark.slow
async def test_what_only_servers_do_is_left_to_them_and_costs_no_delivery(bench: Bench, web: Web, scan: bytes):
    output = TaskOutput(uri="s3://transcripts/go/call", formats=["json"])
    fields = {"job": ObjectRef(namespace="team-a", name="call", uid="call"), "attempt": 1, "tenant": "acme"}
    source = TaskSource(uri="https://127.0.0.1/a.wav")
    await bench.send(
        TranscriptionTask(**fields, source=source, output=output, meeting_id="m", model={"name": "whisper-base"})
    )
    await bench.publish("big", web.serve("/big", b"%PDF" + bytes(33 * 1024 * 1024)))
    await bench.publish("scan", web.serve("/scan", scan))
    go = await bench.start_go()
    await bench.operator.until(lambda: any(it.ended and it.ended.result for it in bench.operator.ends()))
    await bench.operator.until(lambda: {it.job.uid for it in bench.operator.ends()} == {"big", "scan"})
    go.send_signal(signal.SIGTERM)
    assert await go.wait() == 0
    assert {it.job.uid for it in bench.operator.reports} == {"big", "scan"}
    assert [it.ended.result for it in bench.operator.ends() if it.job.uid == "big" and it.ended] == [None]
    left = []
    async with asyncio.timeout(SECONDS):
        while len(left) < 2:
            left += await bench.queue.receive(2, 5)
    assert {it.message.subject: it.receives for it in left} == {"team-a/call": 1, "team-a/big": 1}
    assert bench.manifest("scan").job.uid == "scan"


async def test_a_message_that_the_operator_did_not_make_is_a_dead_letter(bench: Bench, web: Web):
    await bench.publish("forged", web.serve("/a", b"x"), key=bytes(32))
    await bench.start_go()
    async with asyncio.timeout(SECONDS):
        while not (letters := await bench.queue.dead_letters()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert [letter.reason for letter in letters] == [UNPROVEN]
    assert web.requests == []


@pytest.mark.slow
async def test_only_what_workers_of_the_job_wrote_is_taken_for_its_result(bench: Bench, web: Web, scan: bytes):
    uri = web.serve("/scan", scan)
    await bench.publish("mine", uri)
    async with bench.python():
        first = (await bench.done("mine"))["mine"]
    forged = json.loads(bench.object("mine", "manifest.json"))
    put = bench.s3.client.put_object
    forged["job"]["uid"] = forged["job"]["name"] = "manifest"
    put(Bucket="transcripts", Key="go/manifest/manifest.json", Body=json.dumps(forged))
    put(Bucket="transcripts", Key="go/pages/pages.json", Body=bench.object("mine", "pages.json"))
    for name in ("manifest", "pages"):
        await bench.publish(name, uri)
    await bench.start_go()
    ends = await bench.done("manifest", "pages")
    assert {name: getattr(end, "reason", "") for name, end in ends.items()} == dict.fromkeys(ends, "OutputForbidden")
    await bench.publish("mine", uri, attempt=2)
    await bench.operator.until(lambda: any(it.attempt == 2 for it in bench.operator.ends()))
    found = next(it.ended for it in bench.operator.ends() if it.attempt == 2)
    assert isinstance(first, Succeeded)
    assert found is not None
    assert (found.result, found.used and found.used.pages) == (first, 0)


@pytest.mark.slow
async def test_a_killed_workers_attempt_is_made_by_another(bench: Bench, web: Web, scan: bytes):
    bench.settings = bench.settings.model_copy(update={"visibility_seconds": 2.0})
    gate = Gate(scan)
    web.routes["/scan"] = gate
    killed = await bench.start_go()
    await bench.publish("lost", web.url + "/scan")
    await gate.wait()
    killed.kill()
    await killed.wait()
    await bench.start_go()
    ends = await bench.done("lost")
    assert isinstance(ends["lost"], Succeeded)
    assert len({report.process for report in bench.operator.reports}) == 2
    assert bench.manifest("lost").summary.pages == 1


async def test_a_drain_gives_back_what_it_cannot_finish(bench: Bench, web: Web, scan: bytes):
    gate = Gate(scan)
    web.routes["/scan"] = gate
    go = await bench.start_go()
    await bench.publish("long", web.url + "/scan")
    await gate.wait()
    go.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(go.wait(), 30) == 0
    gate.go_on.set()
    (delivery,) = await bench.queue.receive(1, 5)
    assert delivery.receives == 2
    (end,) = bench.operator.ends()
    assert end.ended is not None
    assert end.ended.result is None


async def test_an_attempt_that_is_not_wanted_any_more_is_stopped(bench: Bench, web: Web, scan: bytes):
    gate = Gate(scan)
    web.routes["/scan"] = gate
    await bench.start_go()
    await bench.publish("gone", web.url + "/scan")
    await gate.wait()
    bench.operator.unwanted.add("gone")
    await bench.operator.until(bench.operator.ends)
    await bench.until_empty()
    gate.go_on.set()
    assert bench.s3.keys("transcripts") in ([], ["go/gone/.steno-write-check"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"queue": None}, "has no queue"), ({"reporting": None}, "needs an operator to report to")],
)
async def test_what_cannot_be_is_said_at_the_start(bench: Bench, tmp_path: Path, fields: dict[str, Any], said: str):
    name = tmp_path / "wrong.json"
    name.write_text(bench.task(**fields).to_json())
    program = await asyncio.to_thread(tools.path, "steno-worker")
    process = await asyncio.create_subprocess_exec(
        program, "-task-file", str(name), "-runtime", "127.0.0.1:1", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 64
    assert said in err.decode()
