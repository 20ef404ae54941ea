"""Look-alikes: objects that users made to pass for the operator's children, or that say what no worker says.

A child is what its name, its namespace and its controller reference say together. What others may write (labels,
annotations, Events) neither counts anything nor bounds a loop.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.job_records import read_job
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.cache.snapshots.pool import observe_pool
from steno_operator.control.cache.snapshots.tenant import occupies_quota
from steno_operator.control.reconcile.controller import parse
from steno_operator.manifests import labels
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.planner import plan_job

from .objects import container, event, job, pod, profile_object, resource

KEY = Key("TranscriptionJob", "ns", "talk")
OWNER = OwnerKey("ns", "u1")
POOL = Key("RuntimePool", "ns", "live")
NOW = datetime(2026, 1, 2, 3, 5, tzinfo=UTC)
GREEDY = {"template": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "100000"}}}]}}}


@pytest.fixture
def state():
    state = ClusterState()
    state.resources.upsert(resource())
    state.profiles.upsert(profile_object())
    return state


def snapshot(state):
    return observe_job(state, KEY, parse(TranscriptionJob, state.resource(KEY)))


def plan(state):
    return plan_job(snapshot(state), NOW, Policy(runtime_image="i", report_url="u"))


def with_label(made: dict[str, Any], **values: str) -> dict[str, Any]:
    found = {name.replace("_", "-"): value for name, value in values.items()}
    made["metadata"]["labels"] |= {f"steno.dev/{name}": value for name, value in found.items()}
    return made


@pytest.mark.parametrize("name", ["bomb", "talk-999999999999", "talk-99999", "talk-007", "talk-0", "talk-2-1"])
def test_h1_an_attempt_that_was_never_started_is_no_child(state, name):
    """One labelled Job with a huge number would block the event loop, again after each restart."""
    state.jobs.upsert(with_label(job(name), attempt="999999999999"))
    before = time.process_time()
    decided = plan(state)
    assert time.process_time() - before < 0.5
    assert snapshot(state).children == ()
    assert decided.status.attempt == 1
    assert decided.status.failures == 0


def test_h1_the_number_of_an_attempt_is_in_its_name_which_nobody_can_change(state):
    state.jobs.upsert(with_label(job(), attempt="400000"))
    assert [child.attempt for child in snapshot(state).children] == [1]


def test_attempts_whose_status_was_never_written_are_children_all_the_same(state):
    """The operator may have ended after each of several starts, before it wrote the status."""
    for number in (3, 1, 2):
        state.jobs.upsert(job(f"talk-{number}", f"j{number}"))
    assert [child.attempt for child in snapshot(state).children] == [1, 2, 3]


@given(st.text(max_size=70), st.dictionaries(st.sampled_from([labels.ATTEMPT, labels.JOB_UID]), st.text()), st.text())
def test_h1_no_job_can_be_read_as_an_attempt_that_is_too_high(name, marks, deadline):
    raw = job()
    raw["metadata"] |= {"name": name, "labels": marks, "annotations": {labels.DEADLINE: deadline}}
    read = read_job(raw).value.child
    assert 0 <= read.attempt <= 99_999
    assert read.deadline is None or 0 <= read.deadline < 10**10


@pytest.mark.parametrize("mark", ["²", "٣", "9" * 5000, "-1", ""])
def test_an_annotation_that_is_no_number_does_not_stop_the_watch(state, mark):
    raw = job()
    raw["metadata"]["annotations"] = {labels.DEADLINE: mark}
    state.jobs.upsert(raw)
    assert snapshot(state).children[0].deadline is None


def test_the_accelerators_of_a_child_are_bounded_by_what_a_profile_can_ask_for(state):
    state.jobs.upsert(job(spec=GREEDY))
    assert state.accelerators(OWNER, "gpu") <= 16


def other_namespace(made: dict[str, Any]) -> dict[str, Any]:
    made["metadata"]["namespace"] = "attacker"
    return made


def test_h3_children_of_another_namespace_are_nobodys(state):
    """An owner reference may name any UID; UIDs are no secrets."""
    state.jobs.upsert(other_namespace(job(spec=GREEDY)))
    state.pods.upsert(other_namespace(pod(phase="Succeeded", **container(terminated={"exitCode": 0, "message": "{}"}))))
    assert snapshot(state).children == ()
    assert state.accelerators(OWNER, "gpu") == 0
    assert not occupies_quota(state, OWNER)
    assert plan(state).status.results is None


@pytest.mark.parametrize("reference", [{"name": "other"}, {"kind": "OCRJob"}])
def test_h3_a_reference_names_its_owner_whole(state, reference):
    raw = job("other-1" if "name" in reference else "talk-1", spec=GREEDY)
    raw["metadata"]["ownerReferences"][0] |= reference
    state.jobs.upsert(raw)
    assert snapshot(state).children == ()
    assert state.accelerators(OWNER, "gpu") == 0
    assert not occupies_quota(state, OWNER)


def test_a_pod_that_only_bears_the_label_has_no_say(state):
    message = '{"result": {"outcome": "Succeeded", "manifest": "s3://a/manifest.json", "artifacts": [], "summary": {'
    message += '"duration": 9, "language": "en", "segments": 1, "processingSeconds": 1, "speed": 9, "model": "m"}}}'
    said = container(terminated={"exitCode": 0, "message": message})
    raw = pod("mine", "p9", owner="j9", phase="Succeeded", **said)
    raw["metadata"]["ownerReferences"][0]["name"] = "mine"
    state.pods.upsert(raw)
    assert state.work(OWNER) == {}
    state.pods.delete("p9")
    assert state.work(OWNER) == {}
    state.pods.upsert(pod(phase="Succeeded", **said))
    assert [work.audio_millis for work in state.work(OWNER).values()] == [9_000]


@pytest.mark.parametrize("foreign_first", [True, False])
def test_l8_an_event_of_another_namespace_neither_speaks_nor_silences(state, foreign_first):
    state.jobs.upsert(job())
    own, foreign = event("j1", "exceeded quota"), other_namespace(event("j1", "all is well"))
    foreign["metadata"]["resourceVersion"] = "14" if foreign_first else "16"
    for said in (foreign, own) if foreign_first else (own, foreign):
        state.warnings.upsert(said)
    assert snapshot(state).children[0].warning == "exceeded quota"
    state.jobs.delete("j1")
    state.jobs.upsert(job(uid="j2"))
    assert snapshot(state).children[0].warning == ""


def pool_child(called: str, uid: str, **reference: Any) -> dict[str, Any]:
    owner = {"kind": "RuntimePool", "name": "live", "uid": "pool1", "controller": True, **reference}
    metadata = {"name": called, "namespace": "ns", "uid": uid, "resourceVersion": "5", "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"replicas": 7}, "status": {"replicas": 7}}


@pytest.mark.parametrize(
    "made",
    [
        pool_child("mine", "d1"),
        other_namespace(pool_child("live-pool", "d1")),
        pool_child("other-pool", "d1", name="other"),
        pool_child("live-pool", "d1", kind="StreamSession"),
    ],
)
def test_h3_a_deployment_or_service_is_a_pools_by_its_name_too(state, made):
    raw = resource("live", "pool1") | {"kind": "RuntimePool", "spec": {}}
    state.resources.upsert(raw)
    state.deployments.upsert(made)
    state.services.upsert(made)
    found = observe_pool(state, POOL, parse(RuntimePool, raw))
    assert found.deployment is None
    assert found.service_digest is None
    assert not occupies_quota(state, OwnerKey("ns", "pool1"))
    state.deployments.upsert(pool_child("live-pool", "d2"))
    found = observe_pool(state, POOL, parse(RuntimePool, raw))
    assert found.deployment is not None
