"""A session, everything around it, and what may happen to both: any list of moves is a history."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.reports import SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1 import RuntimePool, StreamSession
from steno_api.v1alpha1.streamsession import SessionStats
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import find
from steno_operator.plan.common.plan import CreatePool, DeleteResource, IssueToken, SessionPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.session.observed import Connection, ObservedSession
from steno_operator.plan.session.planner import plan_session

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POLICY = Policy("steno/runtime:1", "http://operator:8080")


def make_session(**spec: object) -> StreamSession:
    metadata = {"name": "call", "namespace": "ns", "uid": "0123456789", "generation": 1}
    return StreamSession.from_wire({"metadata": metadata, "spec": spec})


def make_pool(ready: int = 1, **spec: object) -> RuntimePool:
    metadata = {"name": "default", "namespace": "ns", "uid": "u1"}
    return RuntimePool.from_wire({"metadata": metadata, "spec": spec, "status": {"readyReplicas": ready}})


@dataclass
class SimulatedSession:
    """A session and everything around it."""

    session: StreamSession
    pool: RuntimePool | None = field(default_factory=make_pool)
    admission: Admission = NOT_REQUIRED
    ahead: int = 0
    key: str = "k1"
    connection: Connection | None = None
    silent: bool = False
    now: float = 0
    written: float = -100
    token: tuple[str, int] | None = None
    gone: bool = False
    server: tuple[datetime, str] | None = None
    """Since when the client is connected to its server, and the pod."""
    holder: str | None = None
    """The Tenant that has the namespace."""
    received: int = 0
    """What that server received, in half seconds."""

    def copy(self) -> SimulatedSession:
        return copy(self)

    @property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def observed(self) -> ObservedSession:
        return ObservedSession(
            self.session, self.pool, self.admission, self.ahead, self.key, self.connection, self.silent,
            stats_due=self.now - self.written >= 10, holder=self.holder,
        )  # fmt: skip

    def plan(self) -> SessionPlan:
        return plan_session(self.observed(), self.time, POLICY)

    def act(self, action: object) -> None:
        match action:
            case CreatePool(manifest):
                self.pool = self.pool or RuntimePool.from_wire(
                    {**manifest, "metadata": {**manifest["metadata"], "namespace": "ns", "uid": "u2"}}
                )
            case IssueToken(claims, _):
                self.token = self.key, claims.exp
            case DeleteResource():
                self.gone = True
            case _:
                pass

    def reconcile(self) -> SessionPlan:
        plan = self.plan()
        ends = plan.status.completion_time is not None and not self.ended
        assert plan.requires_live_read or not ends, "what ends a session was read live"
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
        """Let the server report more audio, in half seconds; it is another server if the last was lost."""
        if self.server is None:
            self.server, self.received = (self.time, f"pod-{number % 2}"), 0
        self.received += number
        started, pod = self.server
        stats = SessionStats(audio_seconds=self.received / 2, segments=self.received)
        ref = ObjectRef(namespace="ns", name="call", uid="0123456789")
        said = SessionReport(session=ref, started=started, stats=stats, result=result)
        if self.connection is None or self.connection.report.result is None:  # a reported result is final
            self.connection = Connection(said, pod)

    def lose(self) -> None:
        """The server is gone, without a word."""
        self.connection = self.server = None
        self.silent = False


def tick(simulation: SimulatedSession, number: int) -> None:
    simulation.now += (1, 30, 900, 3000)[number % 4]


def speak(simulation: SimulatedSession, number: int) -> None:
    if simulation.token is not None and not simulation.ended:
        simulation.report(number)


def vanish(simulation: SimulatedSession, number: int) -> None:
    if simulation.connection is not None and simulation.connection.report.result is None:
        if number % 3:
            simulation.connection, simulation.silent = None, True  # the operator was restarted
        else:
            simulation.lose()


def die(simulation: SimulatedSession, number: int) -> None:
    if simulation.connection is None or simulation.connection.report.result is None:
        simulation.lose()


def unknown(simulation: SimulatedSession, number: int) -> None:
    if simulation.connection is None:
        simulation.lose()


def end(simulation: SimulatedSession, number: int) -> None:
    """Let the server report how the session ended, possibly after the operator has given it up."""
    if simulation.token is None:
        return
    failure = FailureReason.OUTPUT_FORBIDDEN if number % 5 == 0 else None
    publishes = simulation.session.spec.output is not None and not failure and number % 2 == 0
    manifest = "s3://t/ns/call/0123456789/manifest.json" if publishes else None
    reason = list(SessionEnd)[number % len(SessionEnd)]
    warnings = [WarningSummary(reason="NoSpeech", message="Nothing was said.")] if number % 7 == 0 else []
    result = SessionResult(reason=reason, time=simulation.time, manifest=manifest, failure=failure, warnings=warnings)
    simulation.report(number, result)


def pools(simulation: SimulatedSession, number: int) -> None:
    two = make_pool(2, maxReplicas=2, sessionsPerReplica=1, output={})
    choices = [None, make_pool(1), make_pool(0, output={}), make_pool(output={}), two]
    simulation.pool = choices[number % len(choices)]


def queue(simulation: SimulatedSession, number: int) -> None:
    simulation.ahead = (0, 0, 1, 20)[number % 4]


def keys(simulation: SimulatedSession, number: int) -> None:
    simulation.key = ("k1", "k2", "")[number % 3]


def admit(simulation: SimulatedSession, number: int) -> None:
    simulation.admission = [
        NOT_REQUIRED,
        Admission("Admitted"),
        Admission("Waiting", "TenantLimit", "Wait.", 2),
        Admission("Refused", "TenantLimit", "No."),
    ][number % 4]


def crash(simulation: SimulatedSession, number: int) -> None:
    simulation.crash(number % 4)


MOVES = [tick, tick, speak, speak, speak, vanish, die, die, unknown, end, pools, queue, keys, admit, crash]
codes = st.tuples(st.sampled_from(MOVES), st.integers(0, 59), st.integers(0, 2).map(bool))
histories = st.lists(codes, max_size=25)
specs = st.sampled_from(
    [
        {},
        {"output": {"uri": "s3://t"}},
        {"output": {"uri": "s3://t"}, "maxDurationSeconds": 90},
        {"ttlSecondsAfterFinished": 60},
        {"maxDurationSeconds": 90},
    ]
)


def play(simulation: SimulatedSession, history) -> SimulatedSession:
    for move, number, looks in history:
        if simulation.gone:
            break
        move(simulation, number)
        if looks:
            simulation.reconcile()
    return simulation


def ready(simulation: SimulatedSession):
    return find(simulation.reconcile().status.conditions, "Ready")
