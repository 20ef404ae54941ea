"""What is observed of jobs, and whom a change of it enqueues."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.keys import Key
from steno_kube.object_cache import BY_OWNER, OwnerKey
from steno_kube.reflector import Timing
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.control.reconcile.controller import parse
from steno_operator.control.watch.sources import reflectors
from steno_operator.plan.job.observed import Deadline

from .objects import CREATED, container, event, job, pod, profile_object, resource

KEY = Key("TranscriptionJob", "ns", "talk")


@pytest.fixture
def changes():
    return []


@pytest.fixture
def state(changes):
    state = ClusterState()
    Subscriptions(state, changes.append)
    state.resources.upsert(resource())
    changes.clear()
    return state


def snapshot(state):
    return observe_job(state, KEY, parse(TranscriptionJob, state.resource(KEY)))


def test_everything_comes_together(state, changes):
    state.pods.upsert(pod(phase="Running", **container(running={})))  # watches have no order among them
    state.warnings.upsert(event("j1", "exceeded quota"))
    state.jobs.upsert(job("talk-2", "j2"))
    state.jobs.upsert(job())
    state.profiles.upsert(profile_object())
    found = snapshot(state)
    assert [(child.name, child.warning) for child in found.children] == [("talk-1", "exceeded quota"), ("talk-2", "")]
    assert found.children[0].pods[0].started
    assert found.profile is not None
    assert set(changes) == {KEY}


def test_an_older_state_never_replaces_a_newer_one(state):
    state.jobs.upsert(job(version=12, status={"conditions": [{"type": "Complete", "status": "True"}]}))
    state.jobs.upsert(job(version=11))
    assert snapshot(state).children[0].succeeded
    state.resources.upsert(resource(version=5, attempt=2))
    state.resources.upsert(resource(version=4, attempt=1))
    assert state.resource(KEY)["status"] == {"attempt": 2}
    state.pods.upsert(pod(version=30, phase="Failed"))
    state.pods.upsert(pod(version=29, phase="Running"))
    assert snapshot(state).children[0].pods[0].phase == "Failed"


def test_the_answer_to_a_write_does_not_bring_back_what_was_deleted(state):
    """The watch may bring the deletion before the answer to the creation is read."""
    state.jobs.delete("j1")
    state.jobs.upsert(job())
    state.pods.delete("p1")
    state.pods.upsert(pod())
    assert snapshot(state).children == ()
    state.resources.delete("u1")
    state.resources.upsert(resource(version=9))
    assert state.resource(KEY) is None


def test_a_full_list_removes_what_it_does_not_have_but_not_what_is_younger(state):
    state.resources.upsert(resource(version=2, attempt=1))
    state.jobs.upsert(job(version=10))
    state.jobs.upsert(job("talk-2", "j2", version=30))
    state.jobs.replace(set(), "20")
    assert [child.name for child in snapshot(state).children] == ["talk-2"]
    state.jobs.replace(set(), "40", namespace="elsewhere")
    assert snapshot(state).children
    state.jobs.replace(set(), "40", namespace="ns")
    assert not snapshot(state).children


def test_a_live_list_of_one_resource_leaves_others_alone(state):
    state.jobs.upsert(job(version=10))
    state.jobs.upsert(job("other-1", "j9", owner="u9", version=10))
    state.pods.upsert(pod(version=11))
    state.pods.upsert(pod("other-1-abc", "p9", owner="j9", version=11))
    state.pods.replace_among(state.pods.by_index(BY_OWNER, OwnerKey("ns", "j1")), set(), "20")
    assert snapshot(state).children[0].pods == ()
    state.jobs.replace_among(state.jobs.by_index(BY_OWNER, OwnerKey("ns", "u1")), set(), "20")
    assert snapshot(state).children == ()
    [other] = state.jobs.by_index(BY_OWNER, OwnerKey("ns", "u9"))
    assert [pod.uid for pod in state.pods.by_index(BY_OWNER, OwnerKey("ns", other.uid))] == ["p9"]


def test_a_new_incarnation_starts_afresh(state):
    state.conflicts.add("u1", "talk-1")
    state.progress.update(KEY, "u1", 1, Progress(stage=Stage.DECODING, percent=3))
    state.jobs.upsert(job())
    state.resources.upsert(resource(uid="u2", version=50))
    found = snapshot(state)
    assert found.children == ()
    assert found.conflicting == {"talk-1"}  # its predecessor's child is still there, and in the way
    assert state.owner(OwnerKey("ns", "u1")) is None
    state.jobs.delete("j1")
    assert snapshot(state).conflicting == frozenset()


def test_only_what_is_named_like_a_child_is_a_conflicting_name(state):
    state.jobs.upsert(job("talk-1", "j1", owner="u9"))
    state.jobs.upsert(job("talk-b", "j2", owner="u9"))
    state.jobs.upsert(job("talk-1-1", "j3", owner="u9"))
    state.jobs.upsert(job("talk-2", "j4", owner=""))
    assert snapshot(state).conflicting == {"talk-1", "talk-2"}


def test_a_profile_change_enqueues_unfinished_jobs_that_name_it(state, changes):
    state.resources.upsert(resource("ended", "u2", 2, completionTime="2026-01-01T00:00:00Z"))
    changes.clear()
    state.profiles.upsert(profile_object())
    state.profiles.upsert(profile_object("other"))
    assert changes == [KEY]
    state.profiles.delete("profile-gpu")
    assert changes == [KEY, KEY]
    assert snapshot(state).profile is None


def test_a_profile_that_cannot_be_read_counts_as_absent(state):
    state.profiles.upsert({**profile_object(), "spec": {"scratchSize": ["?"]}})
    assert snapshot(state).profile is None


def test_a_mount_that_fails_is_a_warning_until_the_worker_runs(state, changes):
    state.jobs.upsert(job())
    state.pods.upsert(pod())
    changes.clear()
    state.warnings.upsert(event("p1", 'secret "meetings" not found'))
    assert changes == [KEY]
    assert snapshot(state).children[0].pods[0].warning == 'secret "meetings" not found'
    state.pods.upsert(pod(version=21, **container(running={})))
    assert snapshot(state).children[0].pods[0].warning == ""


def test_k5_an_event_is_news_whenever_it_is_repeated(state, changes):
    """Its time tells whether it still holds."""
    state.jobs.upsert(job())
    state.pods.upsert(pod())
    said = {**event("p1", "Multi-Attach error"), "reason": "FailedAttachVolume", "lastTimestamp": CREATED}
    state.warnings.upsert(said)
    seen = snapshot(state).children[0].pods[0]
    assert (seen.warning_reason, seen.warning) == ("FailedAttachVolume", "Multi-Attach error")
    assert seen.warned is not None
    changes.clear()
    said["metadata"] = {**said["metadata"], "resourceVersion": "16"}
    state.warnings.upsert({**said, "lastTimestamp": "2026-01-02T03:14:05Z"})
    assert changes == [KEY]
    assert snapshot(state).children[0].pods[0].warned == seen.warned + timedelta(minutes=10)


def test_k5_everything_that_keeps_a_pod_from_starting_is_watched(state):
    found = [watch.name for watch in reflectors(None, state, [], Timing())]
    assert {"events-FailedMount", "events-FailedAttachVolume", "events-FailedCreatePodSandBox"} <= set(found)


def test_reports_of_the_latest_attempt_only(state, changes):
    first, second = Progress(stage=Stage.DECODING, percent=80), Progress(stage=Stage.FETCHING, percent=1)
    state.jobs.upsert(job())
    state.progress.update(KEY, "u1", 1, first)
    assert snapshot(state).progress == first
    state.jobs.upsert(job("talk-2", "j2"))
    assert snapshot(state).progress is None
    state.progress.update(KEY, "u1", 2, second)
    state.progress.update(KEY, "u1", 1, first)
    assert snapshot(state).progress == second
    changes.clear()
    state.progress.update(KEY, "u1", 2, second)
    assert changes == []


def test_progress_is_due_when_nothing_was_written_for_a_while(state):
    assert snapshot(state).progress_due
    state.status_writes.record("u1")
    assert not snapshot(state).progress_due


def test_memory_goes_when_a_job_goes(state):
    state.jobs.upsert(job())
    state.pods.upsert(pod())
    state.progress.update(KEY, "u1", 1, Progress(stage=Stage.DECODING, percent=3))
    state.conflicts.add("u1", "talk-2")
    state.pods.delete("p1")
    state.jobs.delete("j1")
    state.resources.delete("u1")
    parts = [state, *vars(state).values()]
    left = {name for part in parts for name, value in getattr(part, "__dict__", {}).items() if _is_kept(name, value)}
    assert left == {"_tombstones"}


def _is_kept(name, value):
    return isinstance(value, dict) and bool(value) and name != "_indexes"


def test_a_job_in_another_namespace_that_names_the_owner_is_not_believed(state):
    elsewhere = job()
    elsewhere["metadata"]["namespace"] = "elsewhere"
    state.jobs.upsert(elsewhere)
    state.pods.upsert(pod())
    assert snapshot(state).children == ()


def test_what_a_pod_or_an_event_in_another_namespace_says_of_a_job_is_not_believed(state, changes):
    state.jobs.upsert(job())
    changes.clear()
    elsewhere, warning = pod(), event("j1", "exceeded quota")
    elsewhere["metadata"]["namespace"] = warning["metadata"]["namespace"] = "elsewhere"
    state.pods.upsert(elsewhere)
    state.warnings.upsert(warning)
    assert changes == []
    [child] = snapshot(state).children
    assert (child.pods, child.warning) == ((), "")


def tenant(version: int, **limits):
    metadata = {"name": "acme", "uid": "t1", "resourceVersion": str(version), "creationTimestamp": CREATED}
    return {"kind": "Tenant", "metadata": metadata, "spec": {"namespaces": ["ns"], "limits": limits}}


def test_m12_a_tenants_longest_deadline_is_seen_by_its_jobs(state, changes):
    state.resources.upsert(tenant(2, concurrentJobs=4))
    assert snapshot(state).deadline_limit is None
    changes.clear()
    state.resources.upsert(tenant(3, concurrentJobs=4, maxActiveDeadlineSeconds=600))
    assert KEY in changes
    assert snapshot(state).deadline_limit == Deadline(600, "acme")
    changes.clear()
    state.resources.upsert(tenant(4, concurrentJobs=5, maxActiveDeadlineSeconds=600))
    assert KEY not in changes
    state.resources.delete("t1")
    assert snapshot(state).deadline_limit is None


def test_m12_jobs_of_pools_see_it_too(state):
    state.resources.upsert(tenant(2, maxActiveDeadlineSeconds=600))
    queued = resource(version=3)
    queued["spec"] |= {"execution": "Pool", "poolRef": {"name": "fast"}}
    state.resources.upsert(queued)
    assert snapshot(state).deadline_limit == Deadline(600, "acme")
