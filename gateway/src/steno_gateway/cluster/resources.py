"""The gateway's resources: an informer of what this release created, and the writes that create and delete it.

The gateway keeps nothing else. A resource that the informer does not have yet, since another replica has just created
it, is read live.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pydantic

from steno_api.gateway.session_tokens import GATEWAY_LABEL
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.v1alpha1.meta import Resource
from steno_kube import client
from steno_kube.client import Cluster, ResourceType, UnreachableError
from steno_kube.keys import Key
from steno_kube.object_cache import Change, Entry, Index, ObjectCache
from steno_kube.reflector import Reflector, Target

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource)
_NAME_BYTES = 10
NAME_CHARS = _NAME_BYTES * 8 // 5
"""Of a name that was made here, after its prefix."""

KEY_LABEL = "steno.dev/api-key"
DIGEST_ANNOTATION = "steno.dev/request-digest"
"""SHA-256 of the request that created a resource: the same idempotency key with another request is refused."""


@dataclass(frozen=True, slots=True)
class Record:
    """A resource, as it was last observed."""

    key: Key
    resource: Resource


_BY_KEY: Index[Record, Key] = Index(lambda entry: (entry.value.key,))
_BY_NAMESPACE: Index[Record, str] = Index(lambda entry: (entry.namespace,))


class Resources:
    """What this release of the gateway has created."""

    def __init__(self, cluster: Cluster, name: str, kinds: Iterable[type[Resource]]) -> None:
        """Observe nothing yet.

        Args:
            cluster: the API server.
            name: of the release, the value of `GATEWAY_LABEL`.
            kinds: what it creates.
        """
        self._cluster = cluster
        self._name = name
        self._models = {model.definition.kind: model for model in kinds}
        # One for each kind: a list of one says nothing of the others.
        self._caches: dict[str, ObjectCache[Record]] = {
            kind: ObjectCache(self._read, _BY_KEY, _BY_NAMESPACE, unique=_BY_KEY) for kind in self._models
        }
        self._waiting: defaultdict[Key, set[asyncio.Event]] = defaultdict(set)
        self.add_event_handler(self._wake)

    def add_event_handler(self, handler: Callable[[Change[Record]], None]) -> None:
        """Have `handler` called with every change from now on."""
        for cache in self._caches.values():
            cache.add_event_handler(handler)

    def cache(self, kind: str) -> ObjectCache[Record]:
        """Return what is known of a kind: the sink of its watch."""
        return self._caches[kind]

    def reflectors(self, namespaces: Iterable[str | None]) -> list[Reflector]:
        """Return what keeps this up to date while it runs.

        Args:
            namespaces: the namespaces served; `(None,)` for all.
        """
        selector = {"labelSelector": f"{GATEWAY_LABEL}={self._name}"}
        return [
            Reflector(
                self._cluster,
                Target(model.definition.plural, _type(model).path(namespace), selector, namespace),
                self._caches[model.definition.kind],
            )
            for model in self._models.values()
            for namespace in namespaces
        ]

    async def create(self, resource: Resource, *, key_id: str, digest: str) -> Resource:
        """Create a resource; one that the same request has created already is returned as it is.

        Args:
            resource: with its name and namespace.
            key_id: of the API key that asked for it.
            digest: of the request.

        Raises:
            ApiError: `InvalidRequest`: the API server refused it; `IdempotencyConflict`; `KeyNotUsable`: its namespace
                does not exist, or is not the gateway's to use; `NotReady`.
        """
        metadata = resource.metadata
        labels = {GATEWAY_LABEL: self._name, KEY_LABEL: key_id}
        marked = metadata.model_copy(
            update={
                "labels": metadata.labels | labels,
                "annotations": metadata.annotations | {DIGEST_ANNOTATION: digest},
            }
        )
        body = resource.model_copy(update={"metadata": marked}).to_wire()
        body.pop("status", None)
        kind = _type(type(resource))
        try:
            raw = await self._cluster.create(kind, metadata.namespace, body)
        except client.ApiError as error:
            if error.status in (client.NOT_FOUND, client.FORBIDDEN):
                raise _not_usable(metadata.namespace or "", error) from None
            if error.status != client.CONFLICT:
                raise _refusal(error) from None
            raw = await self._existing(kind, metadata.namespace or "", metadata.name)
            found = raw["metadata"].get("annotations") or {}
            if found.get(DIGEST_ANNOTATION) != digest:
                message = "This Idempotency-Key was used with another request. Use a key once for each request."
                raise ApiError(ErrorCode.IDEMPOTENCY_CONFLICT, message) from None
        except UnreachableError as error:
            raise _unreachable() from error
        self._caches[resource.kind].upsert(raw)
        return self._models[resource.kind].from_wire(raw)

    async def get(self, key: Key) -> Resource:
        """Return a resource that this release created.

        Raises:
            ApiError: `JobNotFound`, `NotReady`.
        """
        cache = self._caches[key.kind]
        known = cache.by_index(_BY_KEY, key)
        if known:
            return known[-1].value.resource
        try:
            raw = await self._live(_type(self._models[key.kind]), key.namespace, key.name)
        except client.ApiError as error:
            if error.status in (client.NOT_FOUND, client.FORBIDDEN):
                raise not_found() from None
            raise _refusal(error) from None
        if (raw["metadata"].get("labels") or {}).get(GATEWAY_LABEL) != self._name:
            raise not_found()
        cache.upsert(raw)
        return self._models[key.kind].from_wire(raw)

    def of(self, kind: str, namespace: str) -> list[Resource]:
        """Return what is known of a kind in a namespace."""
        return [entry.value.resource for entry in self._caches[kind].by_index(_BY_NAMESPACE, namespace)]

    async def wait(self, key: Key, until: Callable[[Resource], bool], seconds: float) -> Resource:
        """Return a resource once it is as wanted, or as it is when the time is over.

        Args:
            key: which resource.
            until: whether it is as wanted.
            seconds: for which to wait.

        Raises:
            ApiError: `JobNotFound`: it was deleted meanwhile; `NotReady`.
        """
        changed = asyncio.Event()
        self._waiting[key].add(changed)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while not until(await self.get(key)):
                        await changed.wait()
                        changed.clear()
            return await self.get(key)
        finally:
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    async def delete(self, resource: Resource) -> None:
        """Delete a resource, with its children; one that is gone already is no error.

        Raises:
            ApiError: `NotReady`.
        """
        metadata = resource.metadata
        try:
            await self._cluster.delete(
                _type(type(resource)), metadata.namespace, metadata.name, metadata.uid, "Background"
            )
        except client.ApiError as error:
            if error.status not in (client.NOT_FOUND, client.CONFLICT):
                raise _refusal(error) from None
        except UnreachableError as error:
            raise _unreachable() from error

    def _read(self, raw: dict[str, Any]) -> Entry[Record]:
        key, metadata = Key.of(raw["kind"], raw), raw["metadata"]
        resource = self._models[key.kind].from_wire(raw)
        return Entry(metadata["uid"], key.namespace, metadata["resourceVersion"], Record(key, resource))

    def _wake(self, change: Change[Record]) -> None:
        for event in self._waiting.get(change.latest.value.key, ()):
            event.set()

    async def _existing(self, kind: ResourceType, namespace: str, name: str) -> dict[str, Any]:
        """Return what has a name already; it may be gone again."""
        try:
            return await self._live(kind, namespace, name)
        except client.ApiError as error:
            raise _refusal(error) from None

    async def _live(self, kind: ResourceType, namespace: str, name: str) -> dict[str, Any]:
        try:
            return await self._cluster.get(kind, namespace, name)
        except UnreachableError as error:
            raise _unreachable() from error


def derived_name(prefix: str, *parts: str) -> str:
    """Return a resource's name that follows from some texts.

    Args:
        prefix: of the name.
        parts: what it follows from, such as a tenant and what its client says.
    """
    return _name(prefix, hashlib.sha256("\n".join(parts).encode()).digest())


def random_name(prefix: str) -> str:
    """Return a name that is no other resource's."""
    return _name(prefix, secrets.token_bytes(_NAME_BYTES))


def _name(prefix: str, seed: bytes) -> str:
    return f"{prefix}-{base64.b32encode(seed[:_NAME_BYTES]).decode().lower()}"


def read_resource(model: type[R], namespace: str, name: str, spec: Mapping[str, Any]) -> R:
    """Return the resource that is to be created.

    Args:
        model: its kind.
        namespace: where.
        name: its name.
        spec: what clients and the settings say.

    Raises:
        ApiError: `InvalidRequest`, with the fields that are wrong.
    """
    try:
        return model.from_wire({"metadata": {"name": name, "namespace": namespace}, "spec": dict(spec)})
    except pydantic.ValidationError as error:
        fields = sorted({".".join(map(str, fault["loc"][1:])) for fault in error.errors(include_input=False)})
        message = f"Fields that are missing or have an invalid value: {', '.join(fields)}."
        raise ApiError(ErrorCode.INVALID_REQUEST, message) from None


def over_defaults(spec: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client chose, and the settings' defaults of the rest, also within a field that has fields."""

    def merged(name: str, chosen: Any) -> Any:
        default = defaults.get(name)
        if not (isinstance(chosen, Mapping) and isinstance(default, Mapping)):
            return chosen
        return {**cast("Mapping[str, Any]", default), **cast("Mapping[str, Any]", chosen)}

    return {**defaults, **{name: merged(name, chosen) for name, chosen in spec.items()}}


def _type(model: type[Resource]) -> ResourceType:
    definition = model.definition
    return ResourceType(f"{definition.group}/{definition.version}", definition.plural)


def not_found() -> ApiError:
    """Return the error of a job that does not exist, or is another tenant's: nothing says which."""
    return ApiError(
        ErrorCode.JOB_NOT_FOUND, "There is no such job of this tenant; ended ones are deleted after a while."
    )


def _refusal(error: client.ApiError) -> ApiError:
    """Return what a client learns when the API server refuses something."""
    if error.status in (400, 422):
        return ApiError(ErrorCode.INVALID_REQUEST, error.message)
    log.warning("the API server refused a request: %s", error)
    return ApiError(ErrorCode.NOT_READY, "The cluster refused the request. Try again later.", retry_after=5)


def _not_usable(namespace: str, error: client.ApiError) -> ApiError:
    log.warning("a key's namespace cannot be used: %s", error, extra={"key_namespace": namespace})
    message = "The key's namespace does not exist, or the gateway may not use it. Ask the key's administrator."
    return ApiError(ErrorCode.KEY_NOT_USABLE, message)


def _unreachable() -> ApiError:
    return ApiError(ErrorCode.NOT_READY, "The cluster does not answer. Try again later.", retry_after=5)
