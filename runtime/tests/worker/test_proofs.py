"""What is found at the output is believed only if a worker of the same job wrote it."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from runtime.tests.conftest import reply
from steno_api.documents.manifest import Manifest
from steno_api.failures import FailureReason
from steno_api.worker.termination import Succeeded
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.publishing import UNPROVEN, Proofs, find_manifest
from steno_runtime.result_keys import ResultKeyClient
from steno_runtime.storage.volume import VolumeOutput
from steno_runtime.stt.writers import WRITERS

from .test_publish import find_transcript, publish, transcript

KEY, OLD_KEY = "11" * 32, "22" * 32
OURS, BEFORE = Proofs(lambda: [bytes.fromhex(KEY), bytes.fromhex(OLD_KEY)]), Proofs(lambda: [bytes.fromhex(OLD_KEY)])
ANOTHERS = Proofs(lambda: [b"3" * 32])


@pytest.fixture
def operator(web, tmp_path):
    """An operator that gives a pod the keys of its job: the fields of the task that lead to it."""
    (tmp_path / "token").write_text("tok")
    web.routes["/v1/result-keys"] = reply(200, json.dumps({"keys": [KEY, OLD_KEY]}).encode())
    web.routes["/v1/reports"] = reply(202)
    return {"url": web.url, "tokenFile": str(tmp_path / "token"), "intervalSeconds": 60}


def results(tmp_path):
    return tmp_path / "results"


def forged(make_task) -> Manifest:
    """A manifest such as anybody can write who knows the job."""
    return Manifest.model_validate({
        "job": make_task().job.to_wire(), "attempt": 1, "tenant": "acme", "createdAt": "2026-01-02T03:04:05Z",
        "sourceUri": "pvc://recordings/a.wav", "artifacts": [],
        "summary": {"duration": 1, "language": "en", "segments": 1, "processingSeconds": 1, "speed": 1, "model": "m"},
    })  # fmt: skip


def test_a_manifest_that_anybody_wrote_is_not_reported_as_the_jobs(make_task, start, operator, tmp_path):
    results(tmp_path).mkdir()
    (results(tmp_path) / "manifest.json").write_text(forged(make_task).to_json())
    ended = start(make_task(reporting=operator)).ended()
    assert not isinstance(ended.result, Succeeded)
    assert ended.result.reason is FailureReason.OUTPUT_FORBIDDEN
    assert "manifest.json" in ended.result.message


def test_a_transcript_that_anybody_wrote_is_not_published(make_task, start, operator, tmp_path):
    results(tmp_path).mkdir()
    (results(tmp_path) / "transcript.json").write_bytes(WRITERS["json"](transcript("I owe them all of it")))
    ended = start(make_task(reporting=operator)).ended()
    assert not isinstance(ended.result, Succeeded)
    assert ended.result.reason is FailureReason.OUTPUT_FORBIDDEN
    assert not (results(tmp_path) / "manifest.json").exists()


def test_what_a_worker_that_died_left_is_published_by_the_next(make_task, start, operator, tmp_path):
    output, said = VolumeOutput("pvc://results/x", results(tmp_path)), WRITERS["json"](transcript("It was me"))
    OURS.write(output, "transcript.json", said)
    output.create("transcript.json", said, "application/json")
    ended = start(make_task(reporting=operator)).ended()
    assert isinstance(ended.result, Succeeded), ended.log
    assert find_manifest(output, "uid-1", OURS) is not None
    assert "It was me" in (results(tmp_path) / "transcript.txt").read_text()
    again = start(make_task(reporting=operator, attempt=2)).ended()
    assert again.result == ended.result
    assert KEY not in ended.log + ended.message.decode()


@pytest.fixture
def output(tmp_path):
    return VolumeOutput("pvc://results/x", tmp_path / "results")


@pytest.mark.parametrize(("proofs", "believed"), [(OURS, True), (BEFORE, True), (ANOTHERS, False), (UNPROVEN, False)])
def test_whose_results_are_adopted(make_task, output, proofs, believed):
    """Those of the same key, of the one before it; not those of another job, nor any without a proof."""
    manifest = publish(output, make_task(), transcript(), "cpu", proofs=proofs)
    assert (manifest.proof is None) == (proofs is UNPROVEN)
    for find in (lambda: find_manifest(output, "uid-1", OURS), lambda: find_transcript(output, make_task(), OURS)):
        if believed:
            assert find() is not None
        else:
            with pytest.raises(WorkError) as refused:
                find()
            assert refused.value.reason is FailureReason.OUTPUT_FORBIDDEN


@pytest.mark.parametrize("name", ["transcript.srt", "transcript.json"])
@pytest.mark.parametrize("formats", [["srt"], ["json", "srt"]])
def test_no_artifact_that_somebody_wrote_meanwhile_is_listed(make_task, output, formats, name):
    task = make_task(output={"uri": output.uri, "formats": formats})
    forged_text = WRITERS[name.rpartition(".")[2]](transcript("I owe them all of it"))
    output.create(name, forged_text, "text/plain")
    if name.endswith("json") and formats == ["srt"]:  # it is no name of a result then
        publish(output, task, transcript(), "cpu", proofs=OURS)
        return
    with pytest.raises(WorkError) as refused:
        publish(output, task, transcript(), "cpu", proofs=OURS)
    assert refused.value.reason is FailureReason.OUTPUT_FORBIDDEN
    assert output.read("manifest.json") is None
    assert output.read(name) == forged_text


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {**document, head: changed(document[head], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("artifacts", []), ("summary.duration", 1), ("metadata", {"approved": "yes"}), ("job.name", "another"),
        ("unknown", 1), ("proof", None), ("proof", 7), ("proof", ""), ("proof", "\ud800"), ("proof", "0" * 64),
    ],
)  # fmt: skip
def test_a_manifest_that_was_altered_is_not_believed(make_task, output, tmp_path, path, value):
    publish(output, make_task(), transcript(), "cpu", proofs=OURS)
    file = results(tmp_path) / "manifest.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(WorkError) as refused:
        find_manifest(output, "uid-1", OURS)
    assert refused.value.reason is FailureReason.OUTPUT_FORBIDDEN


def test_what_was_proven_is_what_is_read(make_task, output, tmp_path):
    """Parsers differ in which of two fields of one name they take."""
    published = publish(output, make_task(), transcript(), "cpu", proofs=OURS)
    file = results(tmp_path) / "manifest.json"
    file.write_text('{"artifacts": [], ' + file.read_text()[1:])
    assert find_manifest(output, "uid-1", OURS) == published


def client(web, tmp_path, make_task, **options: Any) -> ResultKeyClient:
    (tmp_path / "token").write_text("tok")
    task = make_task(reporting={"url": web.url, "tokenFile": str(tmp_path / "token")})
    return ResultKeyClient(task.reporting, task.job, where="s3://b/x", **{"wait_seconds": 0.5, **options})


def test_an_operator_that_is_away_at_first_is_asked_again(web, tmp_path, make_task):
    answers = iter([reply(503), reply(200, b"no json"), reply(403)])
    found = reply(200, json.dumps({"keys": [KEY]}).encode())

    def answer(handler: BaseHTTPRequestHandler) -> None:
        next(answers, found)(handler)

    web.routes["/v1/result-keys"] = answer
    (tmp_path / "token").write_text("tok")
    task = make_task(reporting={"url": web.url, "tokenFile": str(tmp_path / "token")})
    keys = ResultKeyClient(task.reporting, task.job, where="s3://b/x")
    assert keys() == keys() == [bytes.fromhex(KEY)]
    assert len(web.requests) == 4
    assert json.loads(web.bodies[0]) == {"resource": task.job.to_wire()}
    assert web.requests[0][1]["authorization"] == "Bearer tok"


def test_without_an_operator_that_knows_of_keys_nothing_is_proven(web, tmp_path, make_task, output):
    keys = client(web, tmp_path, make_task)  # it answers 404
    assert keys() == ()
    assert ResultKeyClient(None, make_task().job, where="")() == ()
    publish(output, make_task(), transcript(), "cpu")
    assert find_manifest(output, "uid-1", Proofs(keys)) is not None


def test_while_the_operator_is_away_nothing_is_believed_and_results_are_published(web, tmp_path, make_task, output):
    web.routes["/v1/result-keys"] = reply(503)
    proofs = Proofs(client(web, tmp_path, make_task))
    manifest = publish(output, make_task(), transcript(), "cpu", proofs=proofs)
    assert manifest.proof is None
    assert not [path for path in results(tmp_path).iterdir() if path.suffix == ".proof"]
    with pytest.raises(WorkError) as caught:
        find_manifest(output, "uid-1", proofs)
    assert caught.value.reason is FailureReason.OUTPUT_UNAVAILABLE, "the next attempt may be able to tell"


def test_a_worker_that_is_to_stop_does_not_wait_for_the_operator(web, tmp_path, make_task):
    web.routes["/v1/result-keys"] = reply(503)

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        client(web, tmp_path, make_task, check=stop, wait_seconds=600)()
