"""What is observed of pools and their sessions: children, servers, who wants a place, and what servers report."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from steno_api.server.reports import SessionReport
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.streamsession import DEFAULT_POOL, StreamSession
from steno_operator.control.cache.connections import Connections
from steno_operator.control.cache.object_cache import Shelf, Shelved
from steno_operator.control.cache.pool_records import deployment_of, server_of, service_of
from steno_operator.control.cache.records import warning_of
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.pods import ended
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedServer
from steno_operator.plan.pool.places import PlaceRequest, QueueOrder, place_request, sessions_ahead
from steno_operator.plan.session.observed import Connection

POOL_KIND = RuntimePool.definition.kind
SESSION_KIND = StreamSession.definition.kind


def pool_key(session: Mapping[str, Any]) -> Key:
    """Returns the key of the pool that a session names."""
    pool = ((session.get("spec") or {}).get("poolRef") or {}).get("name") or DEFAULT_POOL
    return Key(POOL_KIND, session["metadata"].get("namespace", ""), pool)


def _session_key(request: PlaceRequest) -> Key:
    return Key(SESSION_KIND, request.namespace, request.name)


def _pool_key(request: PlaceRequest) -> Key:
    return Key(POOL_KIND, request.namespace, request.pool)


class PoolStore:
    """Everything known of pools and sessions beside the resources. Not thread-safe: the event loop's only."""

    def __init__(self, changed: Callable[[Key], None], touched: Callable[[str], None] = lambda _: None) -> None:
        """Makes an empty store.

        Args:
            changed: told of every resource to look at.
            touched: told the UID of a pool that begins or ceases to hold something.
        """
        self._changed = changed
        self._touched = touched
        self._holding: set[str] = set()  # UIDs of pools that have servers, or may
        self._keys: dict[str, Key] = {}  # pool UID → key
        self._claims: dict[Key, PlaceRequest] = {}
        self._claims_on: defaultdict[Key, dict[Key, PlaceRequest]] = defaultdict(dict)
        self._ranks: defaultdict[Key, list[QueueOrder]] = defaultdict(list)  # pool → in order
        self._deployments: Shelf[ObservedDeployment] = Shelf()
        self._services: Shelf[str] = Shelf()
        self._servers: Shelf[ObservedServer] = Shelf()
        self._named: dict[tuple[str, str], str] = {}  # namespace and name of a server's pod → UID
        self._warnings: dict[str, str] = {}  # pod UID → message
        self._foreign: defaultdict[str, set[str]] = defaultdict(set)  # pool UID → kinds of children
        self._connections = Connections()
        self._on = {POOL_KIND: self._pool_changed, SESSION_KIND: self._session_changed}

    # Custom resources

    def resource_changed(self, key: Key, raw: Mapping[str, Any] | None) -> None:
        """Hears of a custom resource of any kind; None: it is gone."""
        if key.kind in self._on:
            self._on[key.kind](key, raw)

    def _pool_changed(self, key: Key, raw: Mapping[str, Any] | None) -> None:
        if raw is not None:
            self._keys[raw["metadata"]["uid"]] = key
        self._sessions_changed(key)

    def _sessions_changed(self, pool: Key) -> None:
        for claim in list(self._claims_on.get(pool, {}).values()):
            self._changed(_session_key(claim))

    def _session_changed(self, key: Key, raw: Mapping[str, Any] | None) -> None:
        before, claim = self._claims.pop(key, None), None if raw is None else place_request(raw)
        if before is not None:
            self._claims_on[_pool_key(before)].pop(key, None)
            if before.queued:
                self._ranks[_pool_key(before)].remove(before.order)
            if claim is None or claim.uid != before.uid or not claim.open:
                self._connections.forget(before.uid)  # how it ended stands in its status
        if claim is not None:
            self._claims[key] = claim
            if claim.open:
                self._claims_on[_pool_key(claim)][key] = claim
            if claim.queued:
                insort(self._ranks[_pool_key(claim)], claim.order)
        if claim != before:
            self._claim_changed(before, claim)

    def _claim_changed(self, before: PlaceRequest | None, claim: PlaceRequest | None) -> None:
        """Looks again at the pool, and at those sessions of it for which it matters."""
        for pool in {_pool_key(each) for each in (before, claim) if each is not None}:
            self._changed(pool)
            for other in list(self._claims_on.get(pool, {}).values()):
                was = before is not None and before.precedes(other)
                now = claim is not None and claim.precedes(other)
                # One less ahead is news to those who wait only: all others would be looked at for nothing.
                if (now and not was) or (was and not now and not other.has_place):
                    self._changed(_session_key(other))

    def forget_pool(self, uid: str) -> None:
        """Forgets a deleted pool; its servers may still say their last words."""
        self._keys.pop(uid, None)
        self._foreign.pop(uid, None)

    def wanted(self, pool: Key) -> int:
        """Returns how many sessions a pool is to have places for."""
        return sum(claim.needs_place for claim in self._claims_on.get(pool, {}).values())

    def ahead(self, key: Key) -> int:
        """Returns how many sessions of its pool come before this one."""
        own = self._claims.get(key)
        if own is None:
            return 0
        return sessions_ahead(self._ranks.get(_pool_key(own), ()), own)

    # Children and servers

    def put_deployment(self, raw: dict[str, Any]) -> None:
        """Takes in a pool's Deployment."""
        self._put(self._deployments, deployment_of(raw))

    def put_service(self, raw: dict[str, Any]) -> None:
        """Takes in a pool's Service."""
        self._put(self._services, service_of(raw))

    def put_server(self, raw: dict[str, Any]) -> None:
        """Takes in a server's pod."""
        item = server_of(raw)
        self._put(self._servers, item)
        if self._servers.get(item.uid) is not None:
            self._named[item.namespace, item.value.pod.name] = item.uid
        if ended(item.value.pod):
            self._disconnect(item.uid, item.namespace)

    def drop_deployment(self, uid: str) -> None:
        """Forgets a Deployment that is gone."""
        self._dropped(self._deployments.drop(uid))

    def drop_service(self, uid: str) -> None:
        """Forgets a Service that is gone."""
        self._dropped(self._services.drop(uid))

    def drop_server(self, uid: str) -> None:
        """Forgets a server's pod that is gone, and whoever was connected to it."""
        self._warnings.pop(uid, None)
        item = self._servers.drop(uid)
        if item is None:
            return
        name = item.namespace, item.value.pod.name
        if self._named.get(name) == uid:
            del self._named[name]
        self._owner_changed(item.owner)
        self._disconnect(uid, item.namespace)

    def retain_deployments(self, namespace: str | None, uids: set[str], version: str) -> None:
        """Forgets the Deployments of the namespace (None: of all) that a full list as of `version` did not have."""
        for uid in self._deployments.missing(namespace, uids, version):
            self.drop_deployment(uid)

    def retain_services(self, namespace: str | None, uids: set[str], version: str) -> None:
        """Forgets the Services of the namespace (None: of all) that a full list as of `version` did not have."""
        for uid in self._services.missing(namespace, uids, version):
            self.drop_service(uid)

    def retain_servers(self, namespace: str | None, uids: set[str], version: str) -> None:
        """Forgets the pods of the namespace (None: of all) that a full list as of `version` did not have."""
        for uid in self._servers.missing(namespace, uids, version):
            self.drop_server(uid)

    def put_warning(self, raw: dict[str, Any]) -> None:
        """Takes in a warning Event about a pod; one that is no server's is not kept."""
        uid, message = warning_of(raw)
        item = self._servers.get(uid)
        if item is not None and self._warnings.get(uid) != message:
            self._warnings[uid] = message
            self._owner_changed(item.owner)

    def _put(self, shelf: Shelf[Any], item: Shelved[Any]) -> None:
        if shelf.put(item):
            self._owner_changed(item.owner)

    def _dropped(self, item: Shelved[Any] | None) -> None:
        if item is not None:
            self._owner_changed(item.owner)

    def _owner_changed(self, uid: str) -> None:
        if (holds := self.holds(uid)) != (uid in self._holding):
            (self._holding.add if holds else self._holding.discard)(uid)
            self._touched(uid)
        key = self._keys.get(uid)
        if key is not None:
            self._changed(key)

    def holds(self, uid: str) -> bool:
        """Whether the pool of that UID has servers, or may: what they hold is not free."""
        deployment = self.deployment(uid)
        may = deployment is not None and (deployment.replicas > 0 or deployment.total > 0)
        return may or any(not ended(item.value.pod) for item in self._servers.of(uid))

    def deployment(self, uid: str) -> ObservedDeployment | None:
        """Returns the Deployment of the pool of that UID."""
        return next((item.value for item in self._deployments.of(uid)), None)

    def service_digest(self, uid: str) -> str | None:
        """Returns the digest of the Service of the pool of that UID."""
        return next((item.value for item in self._services.of(uid)), None)

    def servers(self, uid: str) -> tuple[ObservedServer, ...]:
        """Returns the servers of the pool of that UID."""
        return tuple(self._with_warning(item) for item in self._servers.of(uid))

    def _with_warning(self, item: Shelved[ObservedServer]) -> ObservedServer:
        server, message = item.value, self._warnings.get(item.uid)
        if not message or server.pod.started:
            return server
        return replace(server, pod=replace(server.pod, warning=message))

    def server(self, pod_uid: str) -> Shelved[ObservedServer] | None:
        """Returns the server in the pod of that UID."""
        return self._servers.get(pod_uid)

    def foreign(self, uid: str) -> frozenset[str]:
        """Returns the kinds of children of a pool in whose place something else was found."""
        return frozenset(self._foreign.get(uid, ()))

    def put_foreign(self, uid: str, kind: str) -> None:
        """Remembers that something else stands in a child's place."""
        self._foreign[uid].add(kind)
        self._owner_changed(uid)

    def drop_foreign(self, uid: str, kind: str) -> None:
        """Forgets what stood in a child's place."""
        self._foreign[uid].discard(kind)

    # What servers report

    def put_reports(self, pod_uid: str, reports: Iterable[SessionReport]) -> list[str]:
        """Takes in all that a server says; returns the UIDs of sessions that another server has.

        Args:
            pod_uid: the server's pod.
            reports: of sessions that are known and have not ended.
        """
        server = self._servers.get(pod_uid)
        if server is None:
            return []
        first = not self._connections.heard_of(pod_uid)
        news, doubled = self._connections.put(pod_uid, server.value.pod.name, reports)
        self._told(news)
        if first:
            self._held_changed(server.namespace)  # what their status says of this server is settled now
        return doubled

    def _told(self, reports: Iterable[SessionReport]) -> None:
        for report in reports:
            self._changed(Key(SESSION_KIND, report.session.namespace, report.session.name))

    def _held_changed(self, namespace: str) -> None:
        for claim in list(self._claims.values()):
            if claim.has_place and claim.namespace == namespace:
                self._changed(_session_key(claim))

    def _disconnect(self, pod_uid: str, namespace: str) -> None:
        """Nobody is connected to a server that is gone; its last words stand."""
        self._told(self._connections.drop_pod(pod_uid))
        self._held_changed(namespace)

    def connection(self, uid: str) -> Connection | None:
        """Returns a session's last word, else what its server said latest."""
        return self._connections.of(uid)

    def silent(self, namespace: str, pod: str | None) -> bool:
        """Whether a server's pod is there and has not reported since this operator began."""
        item = self._servers.get(self._named.get((namespace, pod or ""), ""))
        return item is not None and not self._connections.heard_of(item.uid) and not ended(item.value.pod)
