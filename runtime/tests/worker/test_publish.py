"""Publishing once, also when two workers publish the same result, and when they die at any step."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.tests.conftest import LOOPBACK
from steno_api.documents.manifest import MANIFEST_NAME, Manifest
from steno_api.documents.transcript import Segment, Transcript, Word
from steno_api.failures import FailureReason
from steno_api.v1alpha1.ocrjob import PageFormat
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat
from steno_api.worker.task import Task, TaskOutput, TranscriptionTask
from steno_runtime.errors import WorkError
from steno_runtime.publishing import UNPROVEN, Proofs, find_manifest
from steno_runtime.storage import OutputDirectory, open_output
from steno_runtime.storage.volume import VolumeOutput
from steno_runtime.stt.writers import WRITERS
from steno_runtime.worker import recognition, run
from steno_runtime.worker.run import succeeded
from steno_runtime.worker.task_handler import AttemptContext
from steno_runtime.worker.transcription import FORMATS, TranscriptDocument, TranscriptionHandler

PROOFS = Proofs(lambda: [b"k" * 32])


def transcript(text: str = "Hello there", *, meeting: str = "standup-42") -> Transcript:
    words = [Word(word=word, start=index, end=index + 0.5, confidence=0.9) for index, word in enumerate(text.split())]
    segment = Segment(start=0, end=5, text=text, speaker="SPEAKER_00", confidence=0.9, words=words)
    return Transcript(
        meeting_id=meeting, tenant_id="acme", transcript=text, segments=[segment], speakers={}, confidence=0.9,
        processing_time=2.0, language="en", duration=30.0, model="whisper-base", total_segments=1, total_speakers=1,
        has_diarization=True,
    )  # fmt: skip


def attempt_at(task: Task, scratch: Path, proofs: Proofs) -> AttemptContext:
    """An attempt whose work needs no source."""
    return AttemptContext(
        task=task, check=lambda: None, on_progress=lambda *_: None, scratch=scratch, fetch=lambda _: Path(),
        seconds=lambda: 0.0, proofs=proofs,
    )  # fmt: skip


def publish(
    output: OutputDirectory, task: TranscriptionTask, document: Transcript, device: str, proofs: Proofs = UNPROVEN
) -> Manifest:
    """Write and publish a transcript as a worker does."""
    with tempfile.TemporaryDirectory() as scratch:
        handler, written = TranscriptionHandler(task), TranscriptDocument(document, device)
        attempt = attempt_at(task, Path(scratch), proofs)
        return run.publish(output, handler, *run.write_files(handler, written, attempt), attempt)


def find_transcript(output: OutputDirectory, task: TranscriptionTask, proofs: Proofs = UNPROVEN) -> Transcript | None:
    found = run.find_document(output, TranscriptionHandler(task), attempt_at(task, Path(), proofs))
    return found.transcript if isinstance(found, TranscriptDocument) else None


def assert_consistent(output: OutputDirectory, manifest: Manifest) -> None:
    """What any reader may rely on."""
    assert Manifest.model_validate_json(output.read(MANIFEST_NAME) or b"") == manifest
    existing = {artifact.format: output.read(artifact.name) or b"" for artifact in manifest.artifacts}
    for artifact in manifest.artifacts:
        data = existing[artifact.format]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (artifact.sha256, artifact.bytes)
    if "json" in existing:
        document = Transcript.model_validate_json(existing["json"])
        assert {fmt: WRITERS[fmt](document) for fmt in existing} == existing
        assert manifest.summary.words == sum(len(segment.words) for segment in document.segments)


@pytest.fixture(params=["s3", "volume"])
def output(request, tmp_path) -> OutputDirectory:
    if request.param == "volume":
        return VolumeOutput("pvc://results/x", tmp_path / "results")
    s3 = request.getfixturevalue("s3")
    return open_output(
        TaskOutput(
            uri=f"s3://transcripts/{uuid.uuid4()}",
            endpoint_url=s3.endpoint,
            credentials_dir=s3.credentials(tmp_path / "secret"),
            formats=[],
        ),
        LOOPBACK,
    )


def test_every_format_of_the_api_has_a_writer():
    assert set(FORMATS) == set(WRITERS) == set(TranscriptFormat)
    assert set(recognition.FORMATS) == set(PageFormat)


def test_artifacts_and_manifest_are_published(output, make_task):
    task = make_task(source={"uri": "https://u:pw@host/a.wav?sig=abc"})
    assert find_manifest(output, task.job.uid) is None
    manifest = publish(output, task, transcript(), "cuda")
    assert_consistent(output, manifest)
    assert {artifact.name for artifact in manifest.artifacts} == {f"transcript.{fmt}" for fmt in FORMATS}
    assert manifest.source_uri == "https://host/a.wav"
    assert (manifest.summary.device, manifest.summary.speed, manifest.summary.words) == ("cuda", 15.0, 2)
    assert find_manifest(output, task.job.uid) == manifest
    assert succeeded(output, manifest).manifest == f"{output.uri}/manifest.json"


def test_only_what_was_asked_for_is_published(output, make_task):
    task = make_task(output={"uri": "pvc://r/x", "formats": ["txt", "txt"]})
    manifest = publish(output, task, transcript(), "cpu")
    assert [artifact.name for artifact in manifest.artifacts] == ["transcript.txt"]
    assert output.read("transcript.json") is None


def test_a_second_attempt_adopts_what_exists(output, make_task):
    first = publish(output, make_task(attempt=1), transcript("Hello there"), "cuda")
    second = publish(output, make_task(attempt=2), transcript("Yellow bear and more"), "cpu")
    assert second == first
    assert_consistent(output, second)


def test_the_transcript_of_an_attempt_that_died_is_adopted(output, make_task):
    task = make_task(attempt=2)
    output.create("transcript.json", WRITERS["json"](transcript("Hello there")), "application/json")
    assert find_transcript(output, task) == transcript("Hello there")
    manifest = publish(output, task, transcript("Something else"), "cuda")
    assert_consistent(output, manifest)
    assert b"Hello there" in (output.read("transcript.txt") or b"")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (MANIFEST_NAME, b"{}"),
        (MANIFEST_NAME, b"not json"),
        ("transcript.json", b"somebody's"),
        ("transcript.json", transcript(meeting="another").model_dump_json().encode()),
    ],
)
def test_what_is_not_ours_is_a_conflict_and_kept(output, make_task, name, data):
    output.create(name, data, "application/json")
    with pytest.raises(WorkError) as caught:
        find_manifest(output, make_task().job.uid) or find_transcript(output, make_task())
    assert caught.value.reason is FailureReason.OUTPUT_FORBIDDEN
    assert name in caught.value.message
    assert output.read(name) == data


def test_the_manifest_of_another_resource_is_not_adopted(output, make_task):
    publish(output, make_task(), transcript(), "cpu")
    with pytest.raises(WorkError) as caught:
        find_manifest(output, "uid-2")
    assert caught.value.reason is FailureReason.OUTPUT_FORBIDDEN


def test_two_at_once_on_a_real_server(s3, tmp_path, make_task):
    credentials = s3.credentials(tmp_path / "secret")
    for _ in range(10):
        where = TaskOutput(
            uri=f"s3://transcripts/{uuid.uuid4()}", endpoint_url=s3.endpoint, credentials_dir=credentials, formats=[]
        )
        barrier, published = threading.Barrier(2), {}

        def work(attempt, text, where=where, barrier=barrier, published=published):
            output, task = open_output(where, LOOPBACK), make_task(attempt=attempt)
            barrier.wait()
            published[attempt] = publish(output, task, transcript(text), "cpu")

        threads = [threading.Thread(target=work, args=args) for args in ((1, "Hello there"), (2, "Yellow bear too"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert published[1] == published[2]
        assert_consistent(open_output(where, LOOPBACK), published[1])


class Killed(BaseException):
    """A worker's end in the middle of things."""


class Stepped:
    """An output whose every step waits for its turn; the worker behind it may be killed before any of them."""

    def __init__(self, output: OutputDirectory) -> None:
        self.uri = output.uri
        self._output = output
        self._turn, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.ended = False

    def step(self, *, kill: bool = False) -> None:
        """Lets the worker do one step, or kills it before that; returns when it waits for the next, or has ended."""
        self._killed = kill
        self._turn.release()
        self.wait()

    def wait(self) -> None:
        assert self._waits.acquire(timeout=30)

    def end(self) -> None:
        self.ended = True
        self._waits.release()

    def _my_turn(self) -> OutputDirectory:
        self._waits.release()
        assert self._turn.acquire(timeout=30)
        if self._killed:
            raise Killed
        return self._output

    def check_writable(self) -> None:
        self._my_turn().check_writable()

    def read(self, name: str) -> bytes | None:
        return self._my_turn().read(name)

    def create(self, name: str, data: bytes, content_type: str) -> bool:
        return self._my_turn().create(name, data, content_type)

    def cleanup(self) -> None:
        self._my_turn().cleanup()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(
        st.tuples(st.integers(0, 1), st.booleans().flatmap(lambda b: st.just(b) if not b else st.booleans()))
    ),
    formats=st.sampled_from([["json"], ["json", "srt"], ["srt", "json", "vtt", "txt"], ["srt", "txt"]]),
    proofs=st.sampled_from([UNPROVEN, PROOFS]),
)
def test_any_order_of_two_workers_steps_and_any_death_ends_in_one_consistent_result(
    tmp_path: Path, make_task, turns, formats, proofs
):
    real = VolumeOutput("pvc://results/x", tmp_path / str(uuid.uuid4()))
    workers = [Stepped(real), Stepped(real)]
    published: list[Manifest] = []
    task = make_task(output={"uri": real.uri, "formats": formats})

    def work(output: Stepped, text: str) -> None:
        try:
            published.append(publish(output, task, transcript(text), "cpu", proofs))
        except Killed:
            pass
        finally:
            output.end()

    threads = [
        threading.Thread(target=work, args=args)
        for args in zip(workers, ("Hello there", "Yellow bear too"), strict=True)
    ]
    for thread, worker in zip(threads, workers, strict=True):
        thread.start()
        worker.wait()
    rest = [(turn % 2, False) for turn in range(100)]
    for number, kill in turns + rest:
        if not workers[number].ended:
            workers[number].step(kill=kill)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()

    published.append(publish(real, task, transcript("A third attempt, after both"), "cpu", proofs))
    for manifest in published:
        assert manifest == published[0]
    assert_consistent(real, published[0])
