"""The planner of pools: what holds for every history of one, and its single decisions."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.v1alpha1 import RuntimePool, RuntimeProfile
from steno_api.v1alpha1.reasons import ConditionType
from steno_operator.manifests.deployment import digest_of
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import find
from steno_operator.plan.common.plan import ApplyChild, EmitEvent, PoolPlan
from steno_operator.plan.common.pods import ObservedPod
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedPool, ObservedServer
from steno_operator.plan.pool.planner import plan_pool

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POLICY = Policy("steno/runtime:1", "http://operator:8080")
PROFILE = RuntimeProfile.from_wire({"metadata": {"name": "cpu"}, "spec": {}})
GPUS = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"accelerator": {"count": 2}}})
WAITING = Admission("Waiting", "GPUsExhausted", 'Tenant "acme" may use 4 GPUs, and they are in use.', 1, "acme")


def granted(gpus: int) -> Admission:
    return Admission("Admitted", tenant="acme", reserved=True, gpus=gpus)


def pool(**spec: object) -> RuntimePool:
    metadata = {"name": "default", "namespace": "ns", "uid": "u1", "generation": 1}
    return RuntimePool.from_wire({"metadata": metadata, "spec": spec})


@dataclass
class SimulatedPool:
    """A pool, its children, and the sessions that use it."""

    pool: RuntimePool
    deployment: ObservedDeployment | None = None
    service: str | None = None
    sessions: int = 0
    profile: bool = True
    keys: tuple[str, ...] = ("key",)
    conflicting: frozenset[str] = frozenset()
    admission: Admission = NOT_REQUIRED
    now: float = 0
    shrunk_with_sessions: list[object] = field(default_factory=list)

    def copy(self) -> SimulatedPool:
        return copy(self)

    def observed(self) -> ObservedPool:
        return ObservedPool(
            self.pool,
            GPUS if self.profile else None,
            self.deployment,
            self.service,
            sessions=self.sessions,
            token_keys=self.keys,
            conflicting=self.conflicting,
            admission=self.admission,
        )

    def plan(self) -> PoolPlan:
        return plan_pool(self.observed(), START + timedelta(seconds=self.now), POLICY)

    def act(self, action: object) -> None:
        if not isinstance(action, ApplyChild):
            return
        digest = digest_of(action.manifest)
        if action.manifest["kind"] == "Service":
            self.service = digest
            return
        before, replicas = self.deployment, action.manifest["spec"]["replicas"]
        if self.admission != NOT_REQUIRED and replicas > (0 if before is None else before.replicas):
            assert self.admission.open
            assert 2 * replicas <= self.admission.gpus, "more than the Tenant granted"
        granted = self.admission.gpus // 2 if self.admission.reserved else None
        if before is not None and self.sessions and replicas < before.replicas and replicas != granted:
            self.shrunk_with_sessions.append((replicas, self.pool.spec))
        total = 0 if before is None else before.total
        self.deployment = ObservedDeployment(digest, replicas, total, 0 if before is None else before.ready)

    def reconcile(self) -> PoolPlan:
        plan = self.plan()
        for action in plan.actions:
            self.act(action)
        status = type(plan.status).model_validate_json(plan.status.to_json())
        self.pool = self.pool.model_copy(update={"status": status})
        return plan

    def crash(self, after: int) -> None:
        for action in self.plan().actions[:after]:
            self.act(action)

    def settle(self) -> None:
        """The cluster does its part."""
        if self.deployment is not None:
            count = self.deployment.replicas
            self.deployment = replace(self.deployment, total=count, ready=count, rolled_out=True)

    def to_rest(self) -> None:
        self.profile, self.keys, self.conflicting, self.admission = True, ("key",), frozenset(), NOT_REQUIRED
        for _ in range(20):
            plan = self.reconcile()
            self.settle()
            if plan.requeue_after is None and not plan.actions and self.plan().status == self.pool.status:
                return
            self.now += plan.requeue_after.total_seconds() if plan.requeue_after else 1
        raise AssertionError("it does not come to rest")

    def edit(self, number: int) -> None:
        low = number % 3
        changes: list[dict[str, object]] = [
            {"min_replicas": low, "max_replicas": low + 1 + number % 2, "replicas": None},
            {"replicas": min(number % 4, self.pool.spec.max_replicas)},
            {"replicas": None},
            {"sessions_per_replica": 1 + number % 3},
            {"scale_down_delay_seconds": (0, 100)[number % 2]},
        ]
        generation = self.pool.metadata.generation + 1
        metadata = self.pool.metadata.model_copy(update={"generation": generation})
        spec = self.pool.spec.model_copy(update=changes[number % len(changes)])
        self.pool = self.pool.model_copy(update={"spec": spec, "metadata": metadata})


def tick(simulation: SimulatedPool, number: int) -> None:
    simulation.now += (1, 50, 200)[number % 3]


def sessions(simulation: SimulatedPool, number: int) -> None:
    simulation.sessions = (0, 1, 2, 5, 40)[number % 5]


def settle(simulation: SimulatedPool, number: int) -> None:
    simulation.settle()


def cold(simulation: SimulatedPool, number: int) -> None:
    if simulation.deployment is not None:
        simulation.deployment = replace(simulation.deployment, ready=0, rolled_out=False)


def lose(simulation: SimulatedPool, number: int) -> None:
    if number % 2:
        simulation.deployment = None
    else:
        simulation.service = None


def toggle(simulation: SimulatedPool, number: int) -> None:
    match number % 3:
        case 0:
            simulation.profile = not simulation.profile
        case 1:
            simulation.keys = () if simulation.keys else ("key",)
        case _:
            simulation.conflicting = frozenset() if simulation.conflicting else frozenset({"Deployment"})


def admit(simulation: SimulatedPool, number: int) -> None:
    simulation.admission = (NOT_REQUIRED, WAITING, granted(0), granted(2), granted(5), granted(99))[number % 6]


def crash(simulation: SimulatedPool, number: int) -> None:
    simulation.crash(number % 4)


MOVES = [tick, sessions, sessions, settle, settle, cold, lose, toggle, admit, crash, SimulatedPool.edit]
histories = st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 59), st.booleans()), max_size=25)
many = settings(max_examples=500, deadline=None)


def live_through(history) -> SimulatedPool:
    simulation = SimulatedPool(pool(maxReplicas=3, sessionsPerReplica=2, scaleDownDelaySeconds=100))
    for move, number, looks in history:
        move(simulation, number)
        if looks:
            simulation.reconcile()
    return simulation


@many
@given(histories)
def test_a_plan_carried_out_leaves_nothing_to_do(history):
    simulation = live_through(history)
    assert simulation.plan() == simulation.plan()
    simulation.reconcile()
    again = simulation.plan()
    assert again.actions == ()
    assert again.status == simulation.pool.status


def test_servers_that_cannot_go_yet_stay_idle():
    simulation = live_through([(sessions, 1, True), (sessions, 0, True), (toggle, 0, False), (tick, 50, False)])
    idle = simulation.pool.status.idle_since
    assert idle is not None
    for _ in range(2):
        simulation.reconcile()
        assert simulation.pool.status.idle_since == idle


@many
@given(histories, st.integers(0, 4))
def test_a_crash_after_any_action_ends_the_same(history, prefix):
    lucky = live_through(history)
    unlucky = lucky.copy()
    unlucky.crash(prefix)
    for simulation in (lucky, unlucky):
        simulation.reconcile()  # both under the same grant: what it took away does not come back by itself
        simulation.to_rest()
    assert (lucky.deployment, lucky.service) == (unlucky.deployment, unlucky.service)
    assert lucky.pool.status.phase == unlucky.pool.status.phase


@many
@given(histories)
def test_no_server_goes_while_a_session_is_open_unless_the_spec_says_so(history):
    simulation = live_through(history)
    assert all(count in (spec.replicas, spec.max_replicas) for count, spec in simulation.shrunk_with_sessions)


@many
@given(histories)
def test_it_comes_to_rest_with_as_many_servers_as_are_needed(history):
    simulation = live_through(history)
    simulation.sessions = 0
    simulation.to_rest()
    spec = simulation.pool.spec
    wanted = spec.min_replicas if spec.replicas is None else spec.replicas
    assert simulation.deployment is not None
    assert simulation.deployment.replicas == wanted
    assert simulation.pool.status.phase == ("Ready" if wanted else "Idle")
    assert simulation.pool.status.idle_since is None


def ready(observed: ObservedPool):
    plan = plan_pool(observed, START, POLICY)
    return next(each for each in plan.status.conditions if each.type == "Ready")


def trouble(pod: ObservedPod, **server: object):
    simulation = SimulatedPool(pool(minReplicas=1))
    simulation.reconcile()
    return ready(replace(simulation.observed(), servers=(ObservedServer(pod, **server),)))


def test_the_status_says_why_a_server_is_missing():
    pod = ObservedPod("p", "p1", "rs")
    assert trouble(replace(pod, unschedulable="0/1 nodes")).reason == "Unschedulable"
    assert trouble(replace(pod, node="n", waiting_reason="ErrImagePull", waiting_message="no")).reason == (
        "ImagePullBackOff"
    )
    crash = trouble(replace(pod, node="n", waiting_reason="CrashLoopBackOff"), last_exit="exit code 70: no GPU")
    assert (crash.reason, "no GPU" in crash.message) == ("CrashLoopBackOff", True)
    assert trouble(replace(pod, node="n", started=True)).reason == "LoadingModel"
    simulation = SimulatedPool(pool(minReplicas=1))
    simulation.reconcile()
    assert ready(simulation.observed()).reason == "WaitingForPod"
    full = replace(simulation.deployment, failure="exceeded quota: none")
    assert ready(replace(simulation.observed(), deployment=full)).reason == "PodQuotaExceeded"


def test_a_refusal_is_reported_and_retried():
    simulation = SimulatedPool(pool())
    for final, phase in ((False, "Scaling"), (True, "Failed")):
        plan = plan_pool(replace(simulation.observed(), refusal="no", refusal_final=final), START, POLICY)
        assert (plan.status.phase, plan.requeue_after) == (phase, POLICY.backoff_base)
        assert [each.reason for each in plan.status.conditions if each.type == "Ready"] == ["ChildRefused"]
        assert not [each for each in plan.actions if not isinstance(each, EmitEvent)]


@pytest.mark.parametrize(
    ("admission", "standing", "replicas", "reason"),
    [
        (NOT_REQUIRED, 0, 3, "WaitingForPod"),
        (WAITING, 0, 0, "GPUsExhausted"),
        (WAITING, 2, 2, "GPUsExhausted"),
        (granted(6), 0, 3, "WaitingForPod"),
        (granted(4), 3, 2, "GPUsExhausted"),
        (Admission("Refused", "NoTenant", "ask"), 0, 0, "NoTenant"),
    ],
)
def test_no_server_is_added_that_the_tenant_did_not_admit(admission, standing, replicas, reason):
    standing = ObservedDeployment("", standing, standing, standing) if standing else None
    observed = ObservedPool(
        pool(maxReplicas=3, sessionsPerReplica=1), GPUS, standing, sessions=3, token_keys=("key",), admission=admission
    )
    plan = plan_pool(observed, START, POLICY)
    applied = [action.manifest for action in plan.actions if isinstance(action, ApplyChild)]
    (deployment,) = [manifest for manifest in applied if manifest["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == replicas
    ready = plan.status.conditions[0]
    assert (ready.type, ready.status, ready.reason) == ("Ready", "False", reason)
    assert plan.status.sessions == 3, "by this the Tenant sees that servers are wanted"


@pytest.mark.parametrize(("profile", "gpus"), [(PROFILE, 0), (GPUS, 6)])
def test_m10_no_server_is_added_beyond_those_that_were_reserved(profile, gpus):
    admission = replace(granted(gpus), servers=2)
    asked = pool(maxReplicas=3, sessionsPerReplica=1)
    observed = ObservedPool(asked, profile, None, sessions=3, token_keys=("key",), admission=admission)
    plan = plan_pool(observed, START, POLICY)
    applied = [action.manifest for action in plan.actions if isinstance(action, ApplyChild)]
    assert [each["spec"]["replicas"] for each in applied if each["kind"] == "Deployment"] == [2]
    ready = plan.status.conditions[0]
    assert (ready.type, ready.status, ready.reason) == ("Ready", "False", "ServersExhausted")


def test_servers_without_accelerators_need_no_gpus():
    observed = ObservedPool(pool(minReplicas=1), PROFILE, token_keys=("key",), admission=granted(0))
    plan = plan_pool(observed, START, POLICY)
    (replicas,) = [
        action.manifest["spec"]["replicas"]
        for action in plan.actions
        if isinstance(action, ApplyChild) and action.manifest["kind"] == "Deployment"
    ]
    assert replicas == 1


def test_m1_a_pool_waits_while_its_profile_is_for_other_tenants():
    theirs = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"allowedTenants": ["beta"]}})
    observed = replace(SimulatedPool(pool(minReplicas=1)).observed(), profile=theirs)
    plan = plan_pool(observed, START, POLICY)
    assert not any(isinstance(action, ApplyChild) for action in plan.actions)
    assert find(plan.status.conditions, "Accepted").reason == "ProfileNotAllowed"
    mine = replace(observed, admission=Admission("Admitted", tenant="beta"))
    assert any(isinstance(action, ApplyChild) for action in plan_pool(mine, START, POLICY).actions)


def test_m8_a_pool_from_before_the_rule_that_leads_out_of_the_cluster_in_plain_text_is_not_served():
    given = replace(SimulatedPool(pool(minReplicas=1)).observed(), service_digest="")

    def planned(**spec: object) -> PoolPlan:
        return plan_pool(replace(given, pool=pool(minReplicas=1, **spec)), START, POLICY)

    for kind in ("NodePort", "LoadBalancer"):
        plan = planned(service={"type": kind})
        assert not any(isinstance(action, ApplyChild) for action in plan.actions)
        accepted = find(plan.status.conditions, ConditionType.ACCEPTED)
        assert accepted is not None
        assert (accepted.status, accepted.reason) == ("False", "PlaintextRefused")
        for allowed in ({"service": {"type": kind, "allowPlaintext": True}},
                        {"service": {"type": kind}, "tls": {"secretRef": {"name": "stt-tls"}}}):  # fmt: skip
            assert any(isinstance(action, ApplyChild) for action in planned(**allowed).actions)


def test_l12_servers_that_are_there_are_told_of_new_keys_and_not_replaced():
    simulation = SimulatedPool(pool(minReplicas=1), keys=("one",))
    simulation.reconcile()
    assert simulation.deployment is not None
    standing = replace(simulation.deployment, token_keys=("one",))
    observed = replace(simulation.observed(), deployment=standing, token_keys=("one", "two"))

    def applied(observed: ObservedPool) -> str:
        return str([each for each in plan_pool(observed, START, POLICY).actions if isinstance(each, ApplyChild)])

    told = replace(observed, held_keys=frozenset(("one", "two")))
    assert applied(told) == "[]"
    assert "two" in applied(replace(observed, held_keys=frozenset(("two", "three")))), "nothing could tell them"
    assert "two" in applied(replace(told, deployment=replace(standing, replicas=0))), "the next begin with the newest"


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_servers_get_the_digest_of_the_metrics_token(digest: str | None):
    policy = replace(POLICY, metrics_token_sha256=digest)
    actions = plan_pool(SimulatedPool(pool()).observed(), START, policy).actions
    (deployment,) = (
        action.manifest
        for action in actions
        if isinstance(action, ApplyChild) and action.manifest["kind"] == "Deployment"
    )
    task = json.loads(deployment["spec"]["template"]["spec"]["containers"][0]["args"][1])
    assert task.get("metricsTokenSHA256") == digest
    assert ("metricsTokenSHA256" in task) is (digest is not None), "pools of before are not replaced"
