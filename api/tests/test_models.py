"""The wire form of the models: what is written is read back, by older and newer readers too."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from steno_api.documents.manifest import Manifest, OCRSummary, PublishedArtifact, TranscriptionSummary
from steno_api.documents.transcript import Segment, Speaker, Transcript, Word
from steno_api.failures import (
    EXIT_CODES,
    EXIT_TERMINATED,
    FailureClass,
    FailureReason,
    class_of_exit_code,
)
from steno_api.model import Model, ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import PoolAnswer, PoolReport, SessionOrder, SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolOutput, PoolTask
from steno_api.v1alpha1 import OCRJob, RuntimeProfile, StreamSession, TranscriptionJob
from steno_api.v1alpha1.common import Output, Phase, ResultArtifact, Source
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.ocrjob import OCREngine, OCRMode
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimeprofile import Resources
from steno_api.v1alpha1.streamsession import SessionStats
from steno_api.worker.report import Report
from steno_api.worker.task import AnyTask, OCRTask, TaskOutput, TaskReporting, TaskSource, TranscriptionTask
from steno_api.worker.termination import Failed, Succeeded, TerminationMessage

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
COUNT = st.integers(0, 2**40)
FRACTION = st.floats(0, 1)
SECONDS = st.floats(0, 1e7, allow_nan=False)
OFFSETS = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
TIMES = st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=OFFSETS)  # noqa: DTZ001 - in UTC as well
NAMES = st.text("abz09", min_size=1, max_size=20)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
URIS = st.builds(str.__add__, st.sampled_from(["s3://bucket/", "https://host:1/", "pvc://claim/"]), NAMES)


def make(of: Callable[..., Any], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Like `st.builds`, which would fill in the aliases too."""
    return st.fixed_dictionaries(fields).map(lambda values: of(**values))


JOBS = make(ObjectRef, namespace=NAMES, name=NAMES, uid=NAMES)
ARTIFACTS = make(PublishedArtifact, format=NAMES, name=NAMES, sha256=DIGESTS, bytes=COUNT)
SUMMARIES = make(
    TranscriptionSummary, duration=st.floats(0, 2_592_000), language=NAMES, segments=COUNT, speakers=COUNT, words=COUNT,
    confidence=FRACTION, processing_seconds=SECONDS, speed=SECONDS, model=TEXT, device=NAMES,
)  # fmt: skip
OCR_SUMMARIES = make(
    OCRSummary, pages=st.integers(0, 100_000), failed_pages=COUNT, characters=COUNT, confidence=FRACTION,
    engines=st.dictionaries(NAMES, COUNT, max_size=3), processing_seconds=SECONDS, pages_per_second=SECONDS,
)  # fmt: skip
PROGRESS = make(
    Progress, stage=st.sampled_from(Stage), percent=st.integers(0, 100), audio_seconds=st.none() | SECONDS,
    pages=st.none() | COUNT, eta_seconds=st.none() | SECONDS, message=st.none() | TEXT,
)  # fmt: skip
WORDS = make(Word, word=TEXT, start=SECONDS, end=SECONDS, confidence=FRACTION, speaker=st.none() | NAMES)
TRANSCRIPTS = make(
    Transcript, meeting_id=TEXT, tenant_id=NAMES, transcript=TEXT, confidence=FRACTION, processing_time=SECONDS,
    language=NAMES, duration=SECONDS, model=TEXT, total_segments=COUNT, total_speakers=COUNT,
    has_diarization=st.booleans(),
    segments=st.lists(make(Segment, start=SECONDS, end=SECONDS, text=TEXT, confidence=FRACTION,
                                words=st.lists(WORDS, max_size=2)), max_size=3),
    speakers=st.dictionaries(NAMES, make(Speaker, total_duration=SECONDS, segments_count=COUNT,
                                              text_parts=st.lists(TEXT, max_size=2)), max_size=2),
)  # fmt: skip
CONDITIONS = make(
    Condition, type=st.sampled_from(ConditionType), status=st.sampled_from(["True", "False", "Unknown"]),
    reason=st.sampled_from(Reason), message=TEXT, last_transition_time=TIMES, observed_generation=COUNT,
)  # fmt: skip
TASKS = make(
    TranscriptionTask, job=JOBS, attempt=st.integers(1, 99), tenant=NAMES, meeting_id=TEXT,
    source=make(TaskSource, uri=URIS, path=st.none() | TEXT, endpoint_url=st.none() | URIS, max_bytes=COUNT),
    output=make(TaskOutput, uri=URIS, formats=st.lists(st.sampled_from(["json", "srt"]))),
    model=st.just({"name": "base", "batchSize": 4}), language=st.sampled_from(["auto", "ko"]),
    reporting=st.none() | make(TaskReporting, url=URIS, token_file=TEXT, interval_seconds=SECONDS),
)  # fmt: skip
OCR_TASKS = make(
    OCRTask, job=JOBS, attempt=st.integers(1, 99), tenant=NAMES, document_id=TEXT, source=make(TaskSource, uri=URIS),
    output=make(TaskOutput, uri=URIS, formats=st.lists(st.sampled_from(["json", "pdf"]))),
    languages=st.lists(st.sampled_from(["ko", "zh-Hant"])), engine=st.sampled_from(OCREngine),
    pages=st.none() | st.just("1-20,25"), mode=st.sampled_from(OCRMode),
)  # fmt: skip
MESSAGES = make(
    TerminationMessage,
    result=make(Succeeded, manifest=URIS, artifacts=st.lists(ARTIFACTS, max_size=3), summary=SUMMARIES | OCR_SUMMARIES)
    | make(Failed, reason=st.sampled_from(FailureReason), message=TEXT),
)
MANIFESTS = make(
    Manifest, job=JOBS, attempt=st.integers(1, 9), tenant=NAMES, created_at=TIMES, source_uri=URIS,
    artifacts=st.lists(ARTIFACTS, max_size=3), summary=SUMMARIES | OCR_SUMMARIES,
)  # fmt: skip


def statuses(summaries: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Statuses of a job kind."""
    return st.fixed_dictionaries(
        {},
        optional={
            "observedGeneration": COUNT,
            "phase": st.sampled_from(Phase.__args__),  # type: ignore[attr-defined]
            "conditions": st.lists(CONDITIONS.map(Model.to_wire), max_size=3),
            "attempt": COUNT,
            "startTime": TIMES.map(datetime.isoformat),
            "progress": PROGRESS.map(Model.to_wire),
            "summary": summaries.map(Model.to_wire),
            "lastFailure": st.fixed_dictionaries(
                {"attempt": COUNT, "reason": st.sampled_from([*FailureReason]), "message": TEXT,
                 "time": TIMES.map(datetime.isoformat)}
            ),
        },
    )  # fmt: skip


def jobs(of: Any, summaries: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Resources of a job kind."""
    return st.builds(
        lambda name, uri, status: of.from_wire(
            {
                "metadata": {"name": name, "namespace": "team-a"},
                "spec": {"source": {"uri": uri}, "output": {"uri": "s3://out"}},
                "status": status,
            }
        ),
        NAMES,
        URIS,
        statuses(summaries),
    )


STATS = make(
    SessionStats, audio_seconds=SECONDS, segments=COUNT, partial_latency_millis=st.none() | COUNT,
    final_latency_millis=st.none() | COUNT, language=st.none() | st.just("ko"),
)  # fmt: skip
SESSION_RESULTS = make(
    SessionResult, reason=st.sampled_from(SessionEnd), time=TIMES, manifest=st.none() | URIS,
    artifacts=st.lists(ARTIFACTS, max_size=2), failure=st.none() | st.sampled_from(FailureReason), message=TEXT,
)  # fmt: skip
POOL_REPORTS = make(
    PoolReport, pool=JOBS,
    sessions=st.lists(make(SessionReport, session=JOBS, started=TIMES, stats=STATS,
                           result=st.none() | SESSION_RESULTS), max_size=2),
)  # fmt: skip
ANSWERS = make(
    PoolAnswer,
    known=st.lists(NAMES),
    end=st.lists(make(SessionOrder, uid=NAMES, reason=st.sampled_from(SessionEnd)), max_size=2),
)
CLAIMS = make(
    SessionClaims, aud=NAMES, sub=st.builds("{}/{}".format, NAMES, NAMES), iat=COUNT, exp=COUNT, uid=NAMES,
    tenant=NAMES, meeting_id=TEXT, output_uri=st.none() | URIS,
)  # fmt: skip
POOL_TASKS = make(
    PoolTask, pool=JOBS, tenant=NAMES, model=st.just({"name": "base"}), max_sessions=st.integers(1, 99),
    token_keys=st.lists(TEXT), output=st.none() | make(PoolOutput, region=st.none() | NAMES),
)  # fmt: skip
SESSIONS = st.builds(
    lambda name, stats, time: StreamSession.from_wire(
        {
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {"output": {"uri": "s3://out"}},
            "status": {"stats": stats.to_wire(), "startTime": time.isoformat(), "tokenKeyID": "k"},
        }
    ),
    NAMES,
    STATS,
    TIMES,
)

ANY = st.one_of(
    POOL_REPORTS, ANSWERS, CLAIMS, POOL_TASKS, SESSIONS,
    TASKS, OCR_TASKS, MESSAGES, MANIFESTS, CONDITIONS, jobs(TranscriptionJob, SUMMARIES), jobs(OCRJob, OCR_SUMMARIES),
    make(Report, job=JOBS, attempt=st.integers(1), progress=PROGRESS),
)  # fmt: skip


@given(ANY)
def test_what_is_written_is_read_back(model: Any) -> None:
    wire = json.loads(json.dumps(model.to_wire()))
    assert type(model).from_wire(wire) == model
    assert type(model).model_validate_json(model.to_json()) == model
    assert type(model).from_wire(wire).to_wire() == wire


@given(TRANSCRIPTS)
def test_a_transcript_is_read_back(transcript: Transcript) -> None:
    assert Transcript.model_validate_json(transcript.model_dump_json()) == transcript


MAPS = ("labels", "annotations", "speakers", "engines", "modelDigests")
"""Their keys are data."""


def maps(document: dict[str, Any]) -> set[str]:
    """Return the fields whose keys are data: everything but a resource has free text as `metadata`."""
    return {*MAPS} if "spec" in document else {*MAPS, "metadata"}


@given(ANY)
def test_a_reader_skips_what_a_newer_writer_says(model: Any) -> None:
    def with_news(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {key: item if key in maps(value) else with_news(item) for key, item in value.items()}
            return {**inner, "someNewField": {"a": [1]}}
        return [with_news(item) for item in value] if isinstance(value, list) else value

    assert type(model).from_wire(with_news(model.to_wire())) == model


@given(ANY)
def test_keys_are_camel_case_and_absent_means_absent(model: Any) -> None:
    def visit(value: Any) -> None:
        assert value is not None
        if isinstance(value, dict):
            for key, item in value.items():
                assert "_" not in key
                if key not in maps(value):
                    visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(model.to_wire())


@given(TASKS | OCR_TASKS)
def test_a_task_tells_its_kind(task: Any) -> None:
    assert TypeAdapter(AnyTask).validate_json(task.to_json()) == task


def test_a_report_of_nonsense_is_refused() -> None:
    for wrong in ({"audioSeconds": float("inf")}, {"segments": -1}, {"language": "k" * 17}):
        with pytest.raises(ValidationError):
            SessionStats.from_wire(wrong)
    result = {"reason": "ClientEnded", "time": "2026-01-02T03:04:05Z"}
    for more in ({"message": "m" * 1001}, {"manifest": "s3://" + "m" * 2048}, {"reason": "Bored"}):
        with pytest.raises(ValidationError):
            SessionResult.from_wire({**result, **more})


def test_a_sessions_claims_name_it() -> None:
    claims = SessionClaims(aud="a", sub="ns/call", iat=1, exp=2, uid="u", tenant="t", meetingID="m")
    assert (claims.namespace, claims.name) == ("ns", "call")


def test_initialisms_are_written_as_kubernetes_does() -> None:
    source = Source(uri="s3://b/k", endpoint_url="https://s3:7070")
    assert source.to_wire() == {"uri": "s3://b/k", "endpointURL": "https://s3:7070"}
    assert set(TranscriptionTask.model_fields["meeting_id"].alias or "") >= set("ID")


@pytest.mark.parametrize(
    ("memory", "mib"),
    [("24000Mi", 24000), ("10Gi", 10240), ("1.5Gi", 1536), (2**31, 2048), ("10G", 9536), ("1k", 1), (None, None)],
)
def test_an_accelerators_memory_is_a_quantity(memory: str | int | None, mib: int | None) -> None:
    accelerator = {"resource": "nvidia.com/gpu", **({} if memory is None else {"memory": memory})}
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"accelerator": accelerator}})
    assert profile.spec.accelerator is not None
    assert profile.spec.accelerator.memory_mib == mib
    assert profile.to_wire()["spec"]["accelerator"].get("memory") == (None if memory is None else str(memory))


def test_models_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Output(uri="s3://b").uri = "s3://c"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Condition(type="Ready", status="True", reason="Published", last_transition_time=datetime(2026, 1, 1))  # noqa: DTZ001
    aware = Condition(
        type="Ready", status="True", reason="Published", last_transition_time=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert aware.to_wire()["lastTransitionTime"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "uri", ["ftp://h/a", "s3://bucket", "s3:///key", "/etc/passwd", "https://ho st/a", "s3://b/k\n"]
)
def test_the_models_refuse_a_uri_like_the_apiserver_does(uri: str) -> None:
    with pytest.raises(ValidationError, match="must be s3://bucket/key, https://host/path or pvc://claim/path"):
        Source(uri=uri)


def test_quantities_may_be_numbers() -> None:
    read = Resources.from_wire({"limits": {"cpu": 4, "memory": "16Gi"}})
    assert read.limits == {"cpu": "4", "memory": "16Gi"}
    for wrong in ("lots", True, 1.5, "-1"):
        with pytest.raises(ValidationError):
            Resources.from_wire({"limits": {"cpu": wrong}})


def test_an_artifact_of_the_status_says_where_it_is() -> None:
    published = PublishedArtifact(format="srt", name="transcript.srt", sha256="0" * 64, bytes=3)
    assert ResultArtifact.of(published, "s3://b/ns/n/u").uri == "s3://b/ns/n/u/transcript.srt"


def test_every_failure_has_one_class_and_an_exit_code_that_means_it() -> None:
    assert {reason.failure_class for reason in FailureReason} == set(FailureClass) == set(EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    for cls, code in EXIT_CODES.items():
        assert class_of_exit_code(code) is cls
    assert class_of_exit_code(EXIT_TERMINATED) is FailureClass.ENVIRONMENT
    assert class_of_exit_code(137) is FailureClass.ENVIRONMENT
    assert class_of_exit_code(1) is FailureClass.INTERNAL
    assert [reason for reason in FailureReason if reason.free] == [
        FailureReason.PREEMPTED,
        FailureReason.TOO_LONG_FOR_POOL,
    ]


@pytest.mark.parametrize("enum", [ConditionType, Reason, FailureReason, Stage])
def test_words_are_ones_that_a_condition_may_hold(enum: Any) -> None:
    for member in enum:
        assert member.value.isalpha()
        assert member.value[0].isupper()
