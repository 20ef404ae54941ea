"""Keys that prove results: who gets those of which job, and what becomes of them when the operator's is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from steno_api.model import ObjectRef
from steno_api.worker.result_keys import RESULT_KEY_PATH, ResultKeyRequest, ResultKeys
from steno_operator.control.kube.signing import KeyStore, SigningKey
from steno_operator.control.reports.result_keys import take_result_key_request
from steno_operator.control.reports.token_review import PodIdentity

from .objects import resource as job_object
from .streams import post
from .test_pool_reports import PoolHarness

OLD, NEW, NEWEST = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
SERVER = PodIdentity(namespace="ns", pod_name="server", pod_uid="pod1")
POOL = ObjectRef(namespace="ns", name="default", uid="pool1")
JOB = ObjectRef(namespace="ns", name="talk", uid="u1")
CALL = ObjectRef(namespace="ns", name="call", uid="s1")


class Pool(PoolHarness):
    """A pool, a job and a session of it, and a server that asks."""

    def __init__(self, pool: str = "default") -> None:
        super().__init__()
        job = job_object()
        job["spec"] |= {"execution": "Pool", "poolRef": {"name": pool}}
        self.state.resources.upsert(job)
        self.session(spec={"poolRef": {"name": pool}})
        self.state.token_keys = KeyStore([OLD, NEW], NEW)

    def ask(self, resource: ObjectRef, pool: ObjectRef | None = POOL, caller: PodIdentity = SERVER) -> tuple[int, Any]:
        return take_result_key_request(self.state, caller, ResultKeyRequest(resource=resource, pool=pool))


def test_a_server_gets_the_keys_of_each_job_and_session_of_its_pool():
    pool = Pool()
    for resource in (JOB, CALL):
        code, answer = pool.ask(resource)
        assert code == 200
        keys = ResultKeys.from_wire(answer).keys
        assert keys == [key.result_key("ns", resource.uid).hex() for key in (NEW, OLD)]
    assert pool.ask(JOB)[1] != pool.ask(CALL)[1]


@pytest.mark.parametrize("resource", [JOB, CALL])
def test_what_a_server_gets_no_keys_of(resource: ObjectRef):
    assert Pool("other").ask(resource)[0] == 403
    pool = Pool()
    assert pool.ask(resource, pool=None)[0] == 403
    assert pool.ask(resource, caller=PodIdentity("ns", "server", "pod2"))[0] == 403
    assert pool.ask(resource, caller=PodIdentity("other", "server", "pod1"))[0] == 403
    assert pool.ask(resource, pool=POOL.model_copy(update={"uid": "pool2"}))[0] == 403
    assert pool.ask(resource, pool=POOL.model_copy(update={"name": "other"}))[0] == 403
    for changed in ({"uid": "u9"}, {"name": "other"}, {"namespace": "other"}):
        assert pool.ask(resource.model_copy(update=changed))[0] == 409
    pool.state.token_keys = None
    assert pool.ask(resource)[0] == 503


def test_keys_are_those_of_one_resource_and_never_the_operators():
    asked = [(NEW, "ns", "u1"), (NEW, "ns", "u2"), (NEW, "other", "u1"), (OLD, "ns", "u1")]
    made = {key.result_key(namespace, uid) for key, namespace, uid in asked}
    assert len(made) == 4
    assert {len(key) for key in made} == {32}


@pytest.mark.parametrize(
    ("keys", "active", "given"),
    [
        ([OLD], OLD, [OLD]),
        ([OLD, NEW], OLD, [OLD, NEW]),  # the new one does not sign yet
        ([OLD, NEW], NEW, [NEW, OLD]),
        ([OLD, NEW, NEWEST], NEWEST, [NEWEST, NEW]),
    ],
)
def test_the_key_before_is_still_given_after_a_rotation(keys: list[SigningKey], active: SigningKey, given: Any):
    found = KeyStore(keys, active).result_keys("ns", "u1")
    assert found == [key.result_key("ns", "u1") for key in given]


@pytest.mark.apiserver
def test_a_worker_gets_the_keys_of_its_own_job(harness):
    replica = harness.start()
    for name in ("talk", "other"):
        harness.apply(name)
    mine, others = harness.run_pod("talk-1"), harness.run_pod("other-1")
    for name in ("talk", "other"):
        harness.wait("Running", name)
    wanted, theirs = ({"resource": harness.progress(name=name)["job"]} for name in ("talk", "other"))

    def keys() -> Any:
        code, body = post(replica, harness.token(mine), wanted, RESULT_KEY_PATH)
        return body["keys"] if code == 200 else None

    [key] = harness.until("keys", keys)
    assert keys() == [key]
    assert post(replica, harness.token(others), wanted, RESULT_KEY_PATH)[0] == 403
    assert post(replica, "nonsense", wanted, RESULT_KEY_PATH)[0] == 401
    assert post(replica, harness.token(others), theirs, RESULT_KEY_PATH)[1]["keys"] != [key]
    replica.stop()
    replica = harness.start()
    assert harness.until("the same key from the next operator", keys) == [key]
    assert key not in replica.log.read_text()
