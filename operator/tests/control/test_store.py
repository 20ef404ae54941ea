from __future__ import annotations

import pytest

from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.reconcile.controller import parse

from .objects import container, event, job, pod, resource

KEY = Key("TranscriptionJob", "ns", "talk")


@pytest.fixture
def changes():
    return []


@pytest.fixture
def store(changes):
    store = Store(changes.append)
    store.put_resource("TranscriptionJob", resource())
    changes.clear()
    return store


def snapshot(store):
    return store.snapshot(KEY, parse(TranscriptionJob, store.resource(KEY)))


def profile(name="gpu", version=1):
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "kind": "RuntimeProfile", "spec": {}}


def test_everything_comes_together(store, changes):
    store.put_pod(pod(phase="Running", **container(running={})))  # watches have no order among them
    store.put_warning(event("j1", "exceeded quota"))
    store.put_job(job("talk-2", "j2"))
    store.put_job(job())
    store.put_profile(profile())
    found = snapshot(store)
    assert [(child.name, child.warning) for child in found.children] == [("talk-1", "exceeded quota"), ("talk-2", "")]
    assert found.children[0].pods[0].started
    assert found.profile is not None
    assert set(changes) == {KEY}


def test_an_older_state_never_replaces_a_newer_one(store):
    store.put_job(job(version=12, status={"conditions": [{"type": "Complete", "status": "True"}]}))
    store.put_job(job(version=11))
    assert snapshot(store).children[0].succeeded
    store.put_resource("TranscriptionJob", resource(version=5, attempt=2))
    store.put_resource("TranscriptionJob", resource(version=4, attempt=1))
    assert store.resource(KEY)["status"] == {"attempt": 2}
    store.put_pod(pod(version=30, phase="Failed"))
    store.put_pod(pod(version=29, phase="Running"))
    assert snapshot(store).children[0].pods[0].phase == "Failed"


def test_the_answer_to_a_write_does_not_raise_the_dead(store):
    """The watch may tell of the deletion before the answer to the creation is read."""
    store.drop_job("j1")
    store.put_job(job())
    store.drop_pod("p1")
    store.put_pod(pod())
    assert snapshot(store).children == ()
    store.drop_resource(KEY, "u1")
    store.put_resource("TranscriptionJob", resource(version=9))
    assert store.resource(KEY) is None


def test_a_full_list_removes_what_it_does_not_have_but_not_what_is_younger(store):
    store.put_job(job(version=10))
    store.put_job(job("talk-2", "j2", version=30))
    store.retain_jobs(None, set(), "20")
    assert [child.name for child in snapshot(store).children] == ["talk-2"]
    store.retain_jobs("elsewhere", set(), "40")
    assert snapshot(store).children
    store.retain_jobs("ns", set(), "40")
    assert not snapshot(store).children


def test_a_live_list_of_one_resource_leaves_others_alone(store):
    store.put_job(job(version=10))
    store.put_job(job("other-1", "j9", owner="u9", version=10))
    store.put_pod(pod(version=11))
    store.put_pod(pod("other-1-abc", "p9", owner="j9", version=11))
    store.retain_pods_of("u1", set(), "20")
    assert snapshot(store).children[0].pods == ()
    store.retain_jobs_of("u1", set(), "20")
    assert snapshot(store).children == ()
    assert store.attempt_of_pod("u9", "p9") == 1


def test_a_new_incarnation_starts_afresh(store):
    store.put_foreign(KEY, "u1", "talk-1")
    store.put_report(KEY, "u1", 1, Progress(stage=Stage.DECODING, percent=3))
    store.put_job(job())
    store.put_resource("TranscriptionJob", resource(uid="u2", version=50))
    found = snapshot(store)
    assert found.children == ()
    assert found.foreign == {"talk-1"}  # its predecessor's child is still there, and in the way
    assert store.key_of("u1") is None
    store.drop_job("j1")
    assert snapshot(store).foreign == frozenset()


def test_only_what_is_named_like_a_child_is_in_the_way(store):
    store.put_job(job("talk-1", "j1", owner="u9"))
    store.put_job(job("talk-b", "j2", owner="u9"))
    store.put_job(job("talk-1-1", "j3", owner="u9"))
    store.put_job(job("talk-2", "j4", owner=""))
    assert snapshot(store).foreign == {"talk-1", "talk-2"}


def test_a_profile_change_looks_again_at_unfinished_jobs_that_name_it(store, changes):
    store.put_resource("TranscriptionJob", resource("ended", "u2", 2, completionTime="2026-01-01T00:00:00Z"))
    changes.clear()
    store.put_profile(profile())
    store.put_profile(profile("other"))
    assert changes == [KEY]
    store.drop_profile("gpu")
    assert changes == [KEY, KEY]
    assert snapshot(store).profile is None


def test_a_profile_that_cannot_be_read_counts_as_absent(store):
    store.put_profile({**profile(), "spec": {"scratchSize": ["?"]}})
    assert snapshot(store).profile is None


def test_a_mount_that_fails_is_told_until_the_worker_runs(store, changes):
    store.put_job(job())
    store.put_pod(pod())
    changes.clear()
    store.put_warning(event("p1", 'secret "meetings" not found'))
    assert changes == [KEY]
    assert snapshot(store).children[0].pods[0].warning == 'secret "meetings" not found'
    store.put_pod(pod(version=21, **container(running={})))
    assert snapshot(store).children[0].pods[0].warning == ""


def test_reports_of_the_latest_attempt_only(store, changes):
    first, second = Progress(stage=Stage.DECODING, percent=80), Progress(stage=Stage.FETCHING, percent=1)
    store.put_job(job())
    store.put_report(KEY, "u1", 1, first)
    assert snapshot(store).progress == first
    store.put_job(job("talk-2", "j2"))
    assert snapshot(store).progress is None
    store.put_report(KEY, "u1", 2, second)
    store.put_report(KEY, "u1", 1, first)
    assert snapshot(store).progress == second
    changes.clear()
    store.put_report(KEY, "u1", 2, second)
    assert changes == []


def test_progress_is_due_when_nothing_was_written_for_a_while(store):
    assert snapshot(store).progress_due
    store.wrote_status("u1")
    assert not snapshot(store).progress_due


def test_memory_goes_when_a_job_goes(store):
    store.put_job(job())
    store.put_pod(pod())
    store.put_report(KEY, "u1", 1, Progress(stage=Stage.DECODING, percent=3))
    store.put_foreign(KEY, "u1", "talk-2")
    store.drop_pod("p1")
    store.drop_job("j1")
    store.drop_resource(KEY, "u1")
    left = {name: value for name, value in vars(store).items() if isinstance(value, dict) and value}
    assert set(left) == {"_deleted"}
