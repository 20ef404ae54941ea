"""What the store knows of Tenants: which has a namespace, who stands in whose ledger, and what asks to be let in.

Kept as raw objects tell it, and cheap: a Tenant's plan looks at its open resources only, and a resource whose progress
changed does not wake its Tenant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from steno_api.v1alpha1.tenant import AdmittedWork, Tenant
from steno_api.worker.termination import Succeeded
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Admission, AdmissionRequest, Usage
from steno_operator.plan.tenant.admission import ObservedQuota, Reservation, check_admission
from steno_operator.plan.tenant.planner import ObservedTenant

TENANT_KIND = Tenant.definition.kind
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class World(Protocol):
    """What the store knows besides."""

    def holds(self, namespace: str, uid: str) -> bool:
        """Whether a child or a pod of the resource of that UID works, or may."""
        ...

    def published(self, namespace: str, uid: str) -> Succeeded | None:
        """Returns the last word of a worker that published for the resource of that UID, be its pod gone by now."""
        ...

    def spoken(self, uid: str) -> bool:
        """Whether such a word is there to be read still: the resource's plan will write down what was used."""
        ...

    def accelerators(self, profile: str, uid: str) -> int | None:
        """Returns how many accelerators a resource of that profile and UID holds once its work is started or resumed.

        A child keeps what its profile gave it, whatever the profile gives by now. None: there is neither.
        """
        ...

    def is_busy(self, key: Key) -> bool:
        """Whether the resource is being worked on at this moment."""
        ...


@dataclass(frozen=True, slots=True)
class _Record:
    """What of a resource matters to its Tenant; equal as long as nothing of that changed."""

    key: Key
    uid: str
    created: datetime
    priority: int
    tenant: str
    profile: str
    active: bool
    max_pods: int
    finished: bool
    gone: bool
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Member:
    """What of a Tenant matters to others."""

    key: Key
    uid: str
    created: str
    namespaces: tuple[str, ...]
    entries: Mapping[str, AdmittedWork]


class Tenancy:
    """See the module. Not thread-safe: the event loop's only."""

    def __init__(
        self,
        world: World,
        changed: Callable[[Key], None],
        *,
        without_tenant: Literal["allow", "refuse"] = "allow",
        served: Iterable[str] = (),
    ) -> None:
        self._world = world
        self._changed = changed
        self._without_tenant = without_tenant
        self._served = frozenset(served)
        self._members: dict[str, _Member] = {}  # Tenant name → …
        self._owners: dict[str, str] = {}  # namespace → Tenant name
        self._ledgers: dict[str, str] = {}  # UID → name of the Tenant in whose ledger it stands
        self._records: dict[str, _Record] = {}
        self._open: defaultdict[str, set[str]] = defaultdict(set)  # namespace → UIDs of what is not over
        self._pending: dict[str, Mapping[str, Admission]] = {}  # Tenant name → UID → …
        self._put: dict[str, Callable[[Key, Mapping[str, Any]], None]] = {
            TENANT_KIND: self._put_tenant,
            **dict.fromkeys(ADMISSION_POLICIES, self._put_claim),
        }

    # What changes

    def put(self, key: Key, raw: Mapping[str, Any]) -> None:
        """Takes in a custom resource of any kind."""
        if (put := self._put.get(key.kind)) is not None:
            put(key, raw)

    def drop(self, key: Key, uid: str) -> None:
        """Forgets a deleted custom resource, except for what a ledger still has to account for."""
        if (member := self._members.get(key.name)) is not None and member.uid == uid:
            del self._members[key.name]
            self._pending.pop(key.name, None)
            self._enter(key.name, member.entries, {})
            self._reown()
        if (record := self._records.get(uid)) is not None:
            self._keep(replace(record, gone=True))

    def _put_tenant(self, key: Key, raw: Mapping[str, Any]) -> None:
        metadata, before = raw["metadata"], self._members.get(key.name)
        admitted = ((raw.get("status") or {}).get("admitted")) or ()
        entries = {entry["uid"]: AdmittedWork.from_wire(entry) for entry in admitted}
        member = _Member(
            key,
            metadata["uid"],
            metadata.get("creationTimestamp", ""),
            tuple(raw["spec"].get("namespaces") or ()),
            entries,
        )
        self._members[key.name] = member
        self._enter(key.name, before.entries if before is not None else {}, entries)
        if before is None or (before.uid, before.namespaces) != (member.uid, member.namespaces):
            self._pending.pop(key.name, None)
            self._reown()

    def _enter(self, name: str, before: Mapping[str, AdmittedWork], after: Mapping[str, AdmittedWork]) -> None:
        """Takes over a new ledger; looks at whatever was let in or let go."""
        for uid in before.keys() - after.keys():
            self._ledgers.pop(uid, None)
            other = next((member.key.name for member in self._members.values() if uid in member.entries), None)
            if other is not None:
                self._ledgers[uid] = other
                continue
            record = self._records.get(uid)
            if record is not None and record.gone:
                del self._records[uid]
        self._ledgers.update(dict.fromkeys(after, name))
        for uid in before.keys() | after.keys():
            entry = after.get(uid) or before[uid]
            if uid not in before or uid not in after or entry.releasing != before[uid].releasing:
                self._changed(Key(entry.kind, entry.namespace, entry.name))

    def _reown(self) -> None:
        """Works out anew who has which namespace; the oldest Tenant does."""
        owners: dict[str, str] = {}
        for name, member in sorted(
            self._members.items(), key=lambda item: (item[1].created, item[1].uid), reverse=True
        ):
            owners.update(dict.fromkeys(member.namespaces, name))
        turned = {name for name in owners.keys() | self._owners.keys() if owners.get(name) != self._owners.get(name)}
        self._owners = owners
        for member in self._members.values():
            self._changed(member.key)
        for namespace in turned:
            for uid in self._open.get(namespace, ()):
                self._changed(self._records[uid].key)

    def _put_claim(self, key: Key, raw: Mapping[str, Any]) -> None:
        metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
        policy = ADMISSION_POLICIES[key.kind]
        record = _Record(
            key=key,
            uid=metadata["uid"],
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            priority=spec.get("priority", 0),
            tenant=(spec.get("tenantRef") or {}).get("name", ""),
            profile=(spec.get("profileRef") or {}).get("name", ""),
            active=policy.is_active(spec, status),
            max_pods=policy.max_pods(spec),
            finished=bool(status.get("completionTime")),
            gone="deletionTimestamp" in metadata,
            usage=policy.usage(status),
        )
        if self._records.get(record.uid) != record:
            self._keep(record)

    def _keep(self, record: _Record) -> None:
        uid, namespace = record.uid, record.key.namespace
        self._records[uid] = record
        if record.finished or record.gone:
            self._open[namespace].discard(uid)
            if not self._open[namespace]:
                del self._open[namespace]
        else:
            self._open[namespace].add(uid)
        self.touched(uid)
        if record.gone and uid not in self._ledgers:
            del self._records[uid]

    def touched(self, uid: str) -> None:
        """Looks again at the Tenant of a resource whose children changed."""
        record = self._records.get(uid)
        owners = {self._ledgers.get(uid), self._owners.get(record.key.namespace) if record is not None else None}
        for name in owners - {None}:
            self._changed(self._members[str(name)].key)

    def profile_changed(self) -> None:
        """Looks again at every Tenant: what their resources ask for may have changed."""
        for member in self._members.values():
            self._changed(member.key)

    def publish_reasons(self, tenant: str, pending: Mapping[str, Admission]) -> None:
        """Keep why resources wait, by UID; reconcile those whose reason changed: they read positions by themselves."""
        before = self._pending.get(tenant, {})
        self._pending[tenant] = pending
        for uid, answer in pending.items():
            known = before.get(uid)
            if (known is None or replace(known, position=None) != replace(answer, position=None)) and (
                record := self._records.get(uid)
            ):
                self._changed(record.key)

    # What is read

    def tenant_of(self, namespace: str) -> str:
        """Returns the name of the Tenant that has a namespace, or an empty string."""
        return self._owners.get(namespace, "")

    def admission(self, key: Key, uid: str, *, claimed: str | None = None, gpus: int = 0) -> Admission:
        """Returns whether something may be started for a resource.

        Args:
            key: the resource.
            uid: its UID.
            claimed: the tenant that its spec names.
            gpus: accelerators that would be started now.
        """
        ledger, owner = self._ledgers.get(uid), self._owners.get(key.namespace)
        entry = None if ledger is None else self._members[ledger].entries[uid]
        quota = ObservedQuota(
            namespace=key.namespace,
            reservation=None if entry is None else Reservation(str(ledger), entry.gpus, bool(entry.releasing)),
            tenant=owner,
            requested_tenant=claimed or "",
            requested_tenant_exists=claimed in self._members,
            pending=None if owner is None else self._pending.get(owner, {}).get(uid),
            gpus=gpus,
        )
        return check_admission(quota, tenant_required=self._without_tenant == "refuse")

    def observe(self, tenant: Tenant) -> ObservedTenant:
        """Returns all that is observed about a Tenant."""
        name, spaces = tenant.metadata.name, tenant.spec.namespaces
        entries = {entry.uid: entry for entry in tenant.status.admitted}
        owned = [space for space in spaces if self._owners.get(space) == name]
        asking = [uid for space in owned for uid in self._open.get(space, ()) if self._ledgers.get(uid, name) == name]
        uids = dict.fromkeys([*entries, *asking])
        served = [space in self._served or not self._served for space in spaces]
        return ObservedTenant(
            tenant=tenant,
            requests=tuple(self._admission_request(uid, entries.get(uid), name) for uid in uids),
            taken={space: self._owners[space] for space in spaces if self._owners.get(space, name) != name},
            served="all" if all(served) else "some" if any(served) else "none",
        )

    def _admission_request(self, uid: str, entry: AdmittedWork | None, tenant: str) -> AdmissionRequest:
        record = self._records.get(uid)
        if record is None:
            assert entry is not None  # noqa: S101 - what asks is known
            key = Key(entry.kind, entry.namespace, entry.name)
            record = _Record(
                key, uid, _LONG_AGO, 0, "", "", active=False, max_pods=0, finished=False, gone=True, usage=Usage()
            )
        key, policy = record.key, ADMISSION_POLICIES[record.key.kind]
        finished = record.finished or record.gone
        each = self._world.accelerators(record.profile, uid)
        word = None if record.finished else self._world.published(key.namespace, uid)
        return AdmissionRequest(
            uid=uid,
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            created=record.created,
            policy=policy,
            demand=policy.demand(None if each is None else each * record.max_pods),
            priority=record.priority,
            finished=finished,
            active=not finished
            and record.active
            and self._owners.get(key.namespace) == tenant
            and record.tenant in ("", tenant),
            running=self._world.holds(key.namespace, uid),
            reconciling=not record.finished and self._world.is_busy(key),
            # Deleted before its status was written, it has used what its worker said.
            usage=record.usage if word is None else policy.usage({"summary": word.summary.to_wire()}),
            usage_pending=not record.finished and self._world.spoken(uid),
        )
