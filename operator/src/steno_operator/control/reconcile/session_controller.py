"""The controller of StreamSessions.

Separate because every kind has its controller in a file of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from steno_api.v1alpha1.streamsession import StreamSession
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.session import observe_session
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.plan.common.plan import SessionPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.session.observed import ObservedSession
from steno_operator.plan.session.planner import plan_session


class SessionController(Controller[StreamSession, ObservedSession, SessionPlan]):
    """StreamSessions. All that a session is planned from is watched or reported; only the resource is read live."""

    def __init__(self, state: ClusterState) -> None:
        super().__init__(StreamSession)
        self._state = state

    def observe(self, key: Key, resource: StreamSession) -> ObservedSession:
        """See `Controller`."""
        return observe_session(self._state, key, resource)

    def plan(self, observed: ObservedSession, now: datetime, policy: Policy) -> SessionPlan:
        """See `Controller`."""
        return plan_session(observed, now, policy)

    def with_refusal(self, observed: ObservedSession, refusal: RefusedError) -> ObservedSession:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal))
