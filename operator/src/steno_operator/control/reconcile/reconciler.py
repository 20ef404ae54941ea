"""Reconciler: snapshot, plan, live reads where it matters, actions, status, Events, for one resource at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.kube.event_recorder import EventRecorder
from steno_operator.control.reconcile.controller import (
    AnyController,
    Controller,
    Observed,
    P,
    R,
    RefusedError,
    UnreadableError,
    parse,
)
from steno_operator.control.reconcile.executor import Executor, GoneError
from steno_operator.plan.common.finish import unreadable_status
from steno_operator.plan.common.plan import DeleteResource, EmitEvent
from steno_operator.plan.common.policy import Policy

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time, in whole seconds as Kubernetes' timestamps have it."""
    return datetime.now(UTC).replace(microsecond=0)


class Reconciler:
    """Brings resources of every kind to what their plans say."""

    def __init__(
        self,
        state: ClusterState,
        executor: Executor,
        recorder: EventRecorder,
        controllers: Mapping[str, AnyController],
        policy: Policy,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._state = state
        self._executor = executor
        self._recorder = recorder
        self._controllers = controllers
        self._policy = policy
        self._clock = clock

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile the resource once.

        Returns:
            Seconds after which to requeue even if nothing changes.

        Raises:
            RetryError: what was planned no longer fits; requeue.
            ApiError, UnreachableError: the API server could not do its part.
        """
        raw = self._state.resource(key)
        if raw is None:
            return None
        controller = self._controllers[key.kind]
        try:
            with self._state.busy.working_on(key):
                return await self._reconcile(controller, key, raw)
        except UnreadableError as error:
            log.warning("the resource cannot be read: %s", error, extra=key.log())
            if "deletionTimestamp" not in raw["metadata"]:
                status = unreadable_status(raw, str(error), self._clock())
                await self._executor.write_status(controller.model.definition, key, raw, status)
        except GoneError:
            log.debug("gone", extra=key.log())
        return None

    async def _reconcile(self, controller: Controller[R, Observed, P], key: Key, raw: dict[str, Any]) -> float | None:
        definition = controller.model.definition
        observed = controller.observe(key, parse(controller.model, raw))
        plan = controller.plan(observed, self._clock(), self._policy)
        if plan.requires_live_read:
            raw = await self._refresh(controller, key, raw["metadata"]["uid"])
            observed = controller.observe(key, parse(controller.model, raw))
            plan = controller.plan(observed, self._clock(), self._policy)
        controller.accept(key, plan)
        uid = raw["metadata"]["uid"]
        try:
            for action in plan.actions:
                if not isinstance(action, EmitEvent | DeleteResource):
                    await self._executor.act(key, uid, action)
        except RefusedError as refused:
            log.warning("what was planned is refused: %s", refused, extra=key.log())
            plan = controller.plan(controller.with_refusal(observed, refused), self._clock(), self._policy)
            plan = replace(plan, actions=tuple(a for a in plan.actions if isinstance(a, EmitEvent)))
        for action in plan.actions:
            if isinstance(action, DeleteResource):
                await self._executor.delete(definition, key, action)
                return None
        if "deletionTimestamp" in raw["metadata"]:  # a status would only delay the deletion
            return None
        written = await self._executor.write_status(definition, key, raw, plan.status.to_wire())
        for action in plan.actions if written else ():
            if isinstance(
                action, EmitEvent
            ):  # after the status: what is done again after a crash is not recorded twice
                self._recorder.record(key, raw, action)
        return plan.requeue_after.total_seconds() if plan.requeue_after is not None else None

    async def _refresh(self, controller: AnyController, key: Key, uid: str) -> dict[str, Any]:
        """Read the resource, then what belongs to it, live into the caches; return the resource."""
        raw = await self._executor.read(controller.model.definition, key, uid)
        await controller.refresh(key, uid)
        return raw
