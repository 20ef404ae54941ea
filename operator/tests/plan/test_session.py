"""The planner of sessions: what holds for every history of one, and its single decisions."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_api.identity import JobRef
from steno_api.report import PublishedArtifact
from steno_api.stream import SessionEnd, SessionFigures, SessionReport, SessionResult
from steno_api.v1alpha1 import RuntimePool, StreamSession
from steno_operator.plan.admission import NOT_REQUIRED, Admission
from steno_operator.plan.conditions import find, holds
from steno_operator.plan.observed_stream import Connection, ObservedSession
from steno_operator.plan.plan import CreatePool, DeleteResource, IssueToken, SessionPlan
from steno_operator.plan.policy import Policy
from steno_operator.plan.session import LAST_WORD_GRACE, plan_session

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POLICY = Policy("steno/runtime:1", "http://operator:8080")


def session(**spec: object) -> StreamSession:
    metadata = {"name": "call", "namespace": "ns", "uid": "0123456789", "generation": 1}
    return StreamSession.from_wire({"metadata": metadata, "spec": spec})


def pool(ready: int = 1, **spec: object) -> RuntimePool:
    metadata = {"name": "default", "namespace": "ns", "uid": "u1"}
    return RuntimePool.from_wire({"metadata": metadata, "spec": spec, "status": {"readyReplicas": ready}})


@dataclass
class World:
    """A session and everything around it."""

    session: StreamSession
    pool: RuntimePool | None = field(default_factory=pool)
    admission: Admission = NOT_REQUIRED
    ahead: int = 0
    key: str = "k1"
    connection: Connection | None = None
    silent: bool = False
    now: float = 0
    written: float = -100
    token: tuple[str, int] | None = None
    gone: bool = False

    def copy(self) -> World:
        return copy(self)

    @property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def observed(self) -> ObservedSession:
        return ObservedSession(
            self.session, self.pool, self.admission, self.ahead, self.key, self.connection, self.silent,
            figures_due=self.now - self.written >= 10,
        )  # fmt: skip

    def plan(self) -> SessionPlan:
        return plan_session(self.observed(), self.time, POLICY)

    def act(self, action: object) -> None:
        match action:
            case CreatePool(manifest):
                self.pool = self.pool or RuntimePool.from_wire(
                    {**manifest, "metadata": {"name": "default", "namespace": "ns", "uid": "u2"}}
                )
            case IssueToken(claims, _):
                self.token = self.key, claims.exp
            case DeleteResource():
                self.gone = True
            case _:
                pass

    def reconcile(self) -> SessionPlan:
        plan = self.plan()
        for action in plan.actions:
            self.act(action)
        status = type(plan.status).model_validate_json(plan.status.to_json())
        if status != self.session.status:
            self.written = self.now
        self.session = self.session.model_copy(update={"status": status})
        return plan

    def crash(self, after: int) -> None:
        for action in self.plan().actions[:after]:
            self.act(action)

    @property
    def ended(self) -> bool:
        return self.session.status.completion_time is not None

    def report(self, number: int, result: SessionResult | None = None) -> None:
        figures = SessionFigures(audio_seconds=number / 2, segments=number)
        ref = JobRef(namespace="ns", name="call", uid="0123456789")
        started = self.time if self.connection is None else self.connection.report.started
        said = SessionReport(session=ref, started=started, figures=figures, result=result)
        if self.connection is None or self.connection.report.result is None:  # the last word stands
            self.connection = Connection(said, f"pod-{number % 2}")


def tick(world: World, number: int) -> None:
    world.now += (1, 30, 900, 3000)[number % 4]


def speak(world: World, number: int) -> None:
    if world.token is not None and not world.ended:
        world.report(number)


def vanish(world: World, number: int) -> None:
    if world.connection is not None and world.connection.report.result is None:
        world.connection = None
        world.silent = bool(number % 3)  # the operator was started anew


def unknown(world: World, number: int) -> None:
    world.silent = False


def end(world: World, number: int) -> None:
    if world.token is None or world.ended:
        return
    failure = FailureReason.OUTPUT_FORBIDDEN if number % 5 == 0 else None
    manifest = None if failure or number % 2 else "s3://t/manifest.json"
    reason = list(SessionEnd)[number % len(SessionEnd)]
    world.report(number, SessionResult(reason=reason, time=world.time, manifest=manifest, failure=failure))


def pools(world: World, number: int) -> None:
    choices = [None, pool(0), pool(1), pool(2, maxReplicas=2, sessionsPerReplica=1), pool(output={})]
    world.pool = choices[number % len(choices)]


def queue(world: World, number: int) -> None:
    world.ahead = (0, 0, 1, 20)[number % 4]


def keys(world: World, number: int) -> None:
    world.key = ("k1", "k2", "")[number % 3]


def admit(world: World, number: int) -> None:
    world.admission = [
        NOT_REQUIRED,
        Admission("Admitted"),
        Admission("Waiting", "TenantLimit", "Wait.", 2),
        Admission("Refused", "TenantLimit", "No."),
    ][number % 4]


def crash(world: World, number: int) -> None:
    world.crash(number % 4)


MOVES = [tick, tick, speak, speak, speak, vanish, unknown, end, pools, queue, keys, admit, crash]
codes = st.tuples(st.sampled_from(MOVES), st.integers(0, 59), st.integers(0, 2).map(bool))
histories = st.lists(codes, max_size=25)
specs = st.sampled_from(
    [{}, {"output": {"uri": "s3://t"}}, {"ttlSecondsAfterFinished": 60}, {"maxDurationSeconds": 90}]
)
many = settings(max_examples=400, deadline=None)


def live_through(world: World, history) -> World:
    for move, number, looks in history:
        if world.gone:
            break
        move(world, number)
        if looks:
            world.reconcile()
    return world


@many
@given(specs, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(spec, history):
    world = live_through(World(session(**spec)), history)
    if world.gone:
        return
    assert world.plan() == world.plan()
    made = world.pool is None
    world.reconcile()
    if made:
        world.reconcile()  # the pool is there now
    if not world.gone:
        again = world.plan()
        assert again.actions == ()
        assert again.status == world.session.status


@many
@given(specs, histories)
def test_an_end_is_for_ever(spec, history):
    world, last = World(session(**spec)), None
    for move, number, _ in history:
        if world.gone:
            return
        move(world, number)
        world.reconcile()
        status = world.session.status
        assert not (holds(status.conditions, "Complete") and holds(status.conditions, "Failed"))
        assert world.ended == (status.phase in ("Succeeded", "Failed"))
        assert last is None or status == last
        last = status if world.ended else None


@many
@given(specs, histories)
def test_a_client_that_may_connect_has_a_token_that_holds(spec, history):
    world = World(session(**spec))
    for move, number, _ in history:
        move(world, number)
        plan = world.reconcile()
        status = world.session.status
        if status.phase == "Ready":
            assert world.token is not None
            key, expires = world.token
            assert (key, status.token_key_id) == (world.key, world.key)
            assert expires == int(status.token_expiration_time.timestamp())
            assert expires - world.time.timestamp() >= POLICY.session_token.total_seconds() / 3
            assert plan.requeue_after is not None, "the token is to be replaced"
        assert bool(status.endpoints) == (status.phase in ("Ready", "Active")) or world.pool is None


@many
@given(specs, histories, st.integers(0, 4))
def test_a_crash_after_any_action_ends_the_same(spec, history, prefix):
    lucky = live_through(World(session(**spec)), history)
    if lucky.gone:
        return
    unlucky = lucky.copy()
    unlucky.crash(prefix)
    for world in (lucky, unlucky):
        for _ in range(3):
            world.reconcile()
    assert lucky.session.status == unlucky.session.status
    assert (lucky.gone, lucky.token) == (unlucky.gone, unlucky.token)


@many
@given(specs, histories)
def test_every_session_ends(spec, history):
    world = live_through(World(session(**spec)), history)
    world.pool, world.ahead, world.key, world.admission = pool(output={}), 0, "k1", NOT_REQUIRED
    for _ in range(60):
        if world.gone or (world.ended and world.plan().requeue_after is None):
            return
        again = world.reconcile().requeue_after
        assert world.gone or again is not None or world.ended
        world.now += again.total_seconds() if again is not None else 0
    raise AssertionError(f"it does not end: {world.session.status}")


def ready(world: World):
    return find(world.reconcile().status.conditions, "Ready")


def test_the_ladder_of_a_session_that_waits():
    world = World(session(), None)
    assert (ready(world).reason, world.pool is not None) == ("PoolNotFound", True)
    assert ready(world).reason == "PoolNotReady"
    world.pool = pool(1, sessionsPerReplica=1)
    world.ahead = 3
    assert ready(world).reason == "PoolFull"
    assert world.session.status.queue.position == 3
    world.ahead, world.key = 0, ""
    assert ready(world).reason == "SigningKeyMissing"
    world.key = "k"
    assert ready(world).reason == "EndpointReady"
    assert world.session.status.queue is None


def test_a_refused_session_fails_and_a_waiting_one_waits():
    world = World(session(), admission=Admission("Waiting", "StreamLimit", "2 of 2 streams.", 1))
    assert ready(world).reason == "StreamLimit"
    assert world.session.status.queue.position == 1
    assert not holds(world.session.status.conditions, "Admitted")
    world.admission = Admission("Refused", "StreamLimit", "The tenant takes no streams.")
    world.reconcile()
    failed = find(world.session.status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("QuotaExceeded", "The tenant takes no streams.")


def test_who_was_admitted_stays_so():
    world = World(session(), admission=Admission("Admitted"))
    world.reconcile()
    world.admission = Admission("Refused", "StreamLimit", "No.")
    assert ready(world).reason == "EndpointReady"


@pytest.mark.parametrize(
    ("spoke", "reason"), [(False, SessionEnd.NO_CLIENT), (True, SessionEnd.MAX_DURATION)], ids=["never", "once"]
)
def test_a_session_nobody_speaks_in_ends(spoke, reason):
    world = World(session(maxDurationSeconds=100))
    world.reconcile()
    if spoke:
        world.report(1)
        world.reconcile()
        world.now += 100
        world.reconcile()
        assert not world.ended, "its server has the last word"
        world.connection = None
    world.now += 100 + LAST_WORD_GRACE.total_seconds()
    assert ready(world).reason == reason


def test_a_session_that_lost_audio_fails_and_shows_what_was_published():
    world = World(session(output={"uri": "s3://t"}))
    world.reconcile()
    artifact = PublishedArtifact(format="json", name="transcript.json", bytes=2, sha256="a" * 64)
    world.report(
        1,
        SessionResult(
            reason=SessionEnd.DRAINED, time=world.time, manifest="s3://t/x/manifest.json", artifacts=[artifact],
            failure=FailureReason.PREEMPTED, message="The last 3 s of audio were not decoded.",
        ),
    )  # fmt: skip
    world.reconcile()
    status = world.session.status
    failed = find(status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("Preempted", "The last 3 s of audio were not decoded.")
    assert status.results.manifest == "s3://t/x/manifest.json"
    assert [each.uri for each in status.results.artifacts] == ["s3://t/x/transcript.json"]


def test_figures_are_written_now_and_then():
    world = World(session())
    world.reconcile()
    world.report(1)
    world.reconcile()
    assert world.session.status.figures.segments == 1
    world.now += 1
    world.report(3)
    plan = world.reconcile()
    assert world.session.status.figures.segments == 1
    assert plan.requeue_after == POLICY.progress_interval
    world.now += 10
    world.reconcile()
    assert world.session.status.figures.segments == 3


def test_the_claims_say_everything():
    world = World(session(tenant="acme", output={"uri": "s3://t/p/", "formats": ["srt"]}), pool(output={}))
    [issued] = [action for action in world.plan().actions if isinstance(action, IssueToken)]
    claims = issued.claims
    assert claims.output_uri == "s3://t/p/ns/call/0123456789"
    assert (claims.tenant, claims.meeting_id, list(claims.formats)) == ("acme", "call", ["srt"])
    assert claims.exp - claims.iat == 3600
    assert "data" not in issued.secret


def test_an_output_is_compared_with_the_pools():
    given = {"uri": "s3://t", "secretRef": {"name": "a"}, "region": "x"}
    for output, fits in (
        (None, False),
        ({}, False),
        ({"secretRef": {"name": "a"}}, False),
        ({"secretRef": {"name": "a"}, "region": "x", "endpointURL": "http://s3:1"}, True),
    ):
        world = World(session(output=given), pool(**({} if output is None else {"output": output})))
        assert (ready(world).reason == "EndpointReady") is fits
    refused = replace(world.observed(), refusal="quota")
    assert find(plan_session(refused, START, POLICY).status.conditions, "Accepted").status == "True"
