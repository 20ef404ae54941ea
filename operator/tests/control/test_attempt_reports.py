"""The answers to workers of a pool, and what of their reports reaches the planner and the Tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.usage import Work
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.report import AttemptReport
from steno_api.worker.termination import Failed, TerminationMessage
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.cache.snapshots.pool import observe_pool
from steno_operator.control.kube.signing import KeyStore, SigningKey
from steno_operator.control.reports.attempts import take_attempt_report
from steno_operator.control.reports.token_review import PodIdentity

from .objects import CREATED
from .objects import resource as job_object
from .test_pool_reports import PoolHarness

SIGNING = SigningKey.generate()
NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
KEY, OWNER = Key("TranscriptionJob", "ns", "talk"), OwnerKey("ns", "u1")
STARTED = {"attempt": 1, "startTime": CREATED}
BROKEN = TerminationMessage(
    result=Failed(reason=FailureReason.SOURCE_UNAVAILABLE, message="It broke."), used=Work(audio_millis=7)
)


class Reports(PoolHarness):
    """The same pool, with a job of it."""

    def __init__(self) -> None:
        super().__init__()
        self.state.token_keys = KeyStore([SIGNING], SIGNING)

    def job(self, *, deleted: bool = False, execution: str = "Pool", **status: Any) -> None:
        self.version += 1
        raw = job_object(version=self.version, **status)
        raw["spec"] |= {"execution": execution} | ({"poolRef": {"name": "default"}} if execution == "Pool" else {})
        if deleted:
            raw["metadata"]["deletionTimestamp"] = CREATED
        self.state.resources.upsert(raw)

    def tell(self, attempt: int = 1, *, pod: str = "pod1", pool: str = "pool1", **said: Any) -> Any:
        fields: dict[str, Any] = {
            "pool": ObjectRef(namespace="ns", name="default", uid=pool),
            "job": ObjectRef(namespace="ns", name="talk", uid="u1"),
            "kind": "TranscriptionTask",
            "process": "p1",
            **said,
        }
        caller = PodIdentity(namespace="ns", pod_name="server", pod_uid=pod)
        self.changes.clear()
        return take_attempt_report(self.state, caller, AttemptReport(attempt=attempt, **fields), NOW)

    def wanted(self, attempt: int = 1, **said: Any) -> Any:
        code, body = self.tell(attempt, **said)
        return code if code != 200 else (body["wanted"], body["recorded"])

    def observed(self) -> Any:
        raw = self.state.resource(KEY)
        return observe_job(self.state, KEY, TranscriptionJob.from_wire(raw))


@pytest.fixture
def reports() -> Reports:
    return Reports()


def test_the_latest_attempt_is_wanted_and_its_progress_is_seen(reports: Reports) -> None:
    reports.job(**STARTED)
    assert reports.wanted() == (True, False)
    assert KEY in reports.changes
    assert reports.wanted(progress=Progress(stage=Stage.DECODING, percent=40, audio_seconds=3)) == (True, False)
    seen = reports.observed()
    assert (seen.message.worker, seen.progress.percent, seen.reported["p1"].audio_millis) == ("server", 40, 3000)
    assert reports.wanted(progress=Progress(stage=Stage.DECODING, percent=40, audio_seconds=3)) == (True, False)
    assert reports.changes == []


@pytest.mark.parametrize(
    ("attempt", "status"),
    [
        (1, {"attempt": 2, "startTime": CREATED}),
        (1, {**STARTED, "lastFailure": {"attempt": 1, "reason": "Killed", "message": "m", "time": CREATED}}),
        (1, {"attempt": 1}),  # suspended
        (1, {**STARTED, "completionTime": CREATED}),
        (3, STARTED),
    ],
)
def test_what_is_over_is_not_wanted(reports: Reports, attempt: int, status: dict[str, Any]) -> None:
    reports.job(**status)
    assert reports.wanted(attempt)[0] is False


def test_jobs_that_are_deleted_or_are_not_the_pools_are_not_wanted(reports: Reports) -> None:
    assert reports.wanted() == (False, False)
    reports.job(**STARTED, deleted=True)
    assert reports.wanted()[0] is False
    reports.job(**STARTED, execution="Job")
    assert reports.wanted()[0] is False
    reports.job(**STARTED)
    assert reports.wanted(kind="OCRTask")[0] is False
    assert reports.wanted(job=ObjectRef(namespace="ns", name="other", uid="u1"))[0] is False
    assert reports.state.attempts.get(OWNER) is None


def test_only_servers_of_the_pool_may_report(reports: Reports) -> None:
    reports.job(**STARTED)
    assert (reports.wanted(pod="pod2"), reports.wanted(pool="pool2")) == (403, 403)
    assert reports.state.attempts.get(OWNER) is None


def test_an_attempt_whose_status_is_not_written_yet_is_seen_and_asked_for_again(reports: Reports) -> None:
    reports.job()
    assert reports.wanted() == 503
    assert KEY in reports.changes
    assert reports.observed().message.attempt == 1


def test_an_end_is_recorded_once_the_status_has_it(reports: Reports) -> None:
    reports.job(**STARTED)
    assert reports.wanted(ended=BROKEN) == (True, False)
    assert reports.observed().message.ended == BROKEN.result
    assert reports.observed().work["p1"].audio_millis == 7
    failure = {"attempt": 1, "reason": "SourceUnavailable", "message": "It broke.", "time": CREATED}
    reports.job(**STARTED, lastFailure=failure)
    assert reports.wanted(ended=BROKEN) == (False, True)


def test_a_worker_that_stops_late_is_still_accounted_for(reports: Reports) -> None:
    reports.job(**STARTED)
    reports.wanted()
    reports.job(**STARTED, completionTime=CREATED)
    assert reports.wanted(ended=TerminationMessage(used=Work(audio_millis=9)))[0] is False
    assert reports.observed().work["p1"].audio_millis == 9
    assert KEY in reports.changes


def test_a_server_that_is_gone_has_no_message_any_more(reports: Reports) -> None:
    reports.job(**STARTED)
    reports.wanted()
    reports.changes.clear()
    reports.state.servers.delete("pod1")
    assert reports.observed().message.worker is None
    assert KEY in reports.changes


def test_a_pool_counts_its_jobs_and_wakes_them(reports: Reports) -> None:
    pool = Key("RuntimePool", "ns", "default")
    reports.changes.clear()
    reports.job(**STARTED)
    assert pool in reports.changes
    observed = observe_pool(reports.state, pool, RuntimePool.from_wire(reports.state.resource(pool)))
    assert observed.jobs == 1
    reports.changes.clear()
    raw = dict(reports.state.resource(pool) or {})
    raw["metadata"] = {**raw["metadata"], "resourceVersion": "90", "generation": 2}
    reports.state.resources.upsert(raw)
    assert KEY in reports.changes
    reports.changes.clear()
    reports.job(**STARTED, completionTime=CREATED)
    assert pool in reports.changes
    observed = observe_pool(reports.state, pool, RuntimePool.from_wire(reports.state.resource(pool)))
    assert observed.jobs == 0


def test_a_worker_that_asks_gets_the_keys_that_its_message_is_proven_with(reports: Reports) -> None:
    reports.job(**STARTED)
    _, answer = reports.tell()
    assert answer["keys"] == [SIGNING.result_key("ns", "u1").hex()]
    assert reports.tell(progress=Progress(stage=Stage.DECODING, percent=40))[1]["keys"] == []
    reports.state.token_keys = None
    assert reports.tell()[0] == 503, "it asks again, and does not go on without"
    reports.job(**STARTED, completionTime=CREATED)
    assert reports.tell()[1] == {"wanted": False, "recorded": reports.tell()[1]["recorded"], "keys": []}
