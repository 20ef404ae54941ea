"""API server client: plain JSON over `kubernetes.aio`: paths, paging, watch streams and typed errors.

The generated client's models cost more time per object than everything else the operator does, and custom resources
have none; so requests go through `ApiClient` (configuration, authentication, TLS, token refresh) and bodies stay dicts.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config

from steno_kube.decoding import PageSize, decode, lines

JSON = "application/json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
GONE = 410
"""Of a watch or a list: too old a `resourceVersion`."""
PAGE = 500
"""Objects per page of a list at most."""
_CHUNK_BYTES = 2**18


class ApiError(Exception):
    """The API server answered with an error.

    Attributes:
        status: HTTP status code.
        reason: machine-readable reason, e.g. `AlreadyExists`.
        message: the server's message.
        retry_after: seconds after which the server asks to try again, if it does.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @classmethod
    def of(cls, status: int, body: bytes | Mapping[str, Any], retry_after: str | None = None) -> ApiError:
        """Return the error of a response body, or of a watch's `Status` object.

        Args:
            status: HTTP status code.
            body: bytes of the answer, or a `Status` object.
            retry_after: the header of that name.
        """
        try:
            data: Any = json.loads(body) if isinstance(body, bytes) else body
        except ValueError:
            data = None
        if not isinstance(data, Mapping):
            data = {"message": bytes(body[:200]).decode(errors="replace") if isinstance(body, bytes) else ""}
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return cls(int(data.get("code") or status), data.get("reason") or "Unknown", data.get("message") or "", seconds)


class UnreachableError(Exception):
    """The API server could not be asked: no connection, or no answer in time."""


class _TooLargeError(Exception):
    """An answer has more bytes than the caller wants in memory."""


@dataclass(frozen=True)
class ResourceType:
    """A kind of object: what URLs are made from."""

    group_version: str
    """`v1`, `batch/v1`, …"""
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection or, with `name`, of one object.

        Args:
            namespace: None for all, or for a cluster-scoped object.
            name: of the object.
            subresource: for example `status`.
        """
        parts = ["/apis" if "/" in self.group_version else "/api", self.group_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


JOBS = ResourceType("batch/v1", "jobs")
DEPLOYMENTS = ResourceType("apps/v1", "deployments")
SERVICES = ResourceType("v1", "services")
SECRETS = ResourceType("v1", "secrets")
PODS = ResourceType("v1", "pods")
EVENTS = ResourceType("v1", "events")
LEASES = ResourceType("coordination.k8s.io/v1", "leases")
TOKEN_REVIEWS = ResourceType("authentication.k8s.io/v1", "tokenreviews")


def environment_proxy(url: str) -> str | None:
    """Return the proxy that `HTTPS_PROXY` and `NO_PROXY` choose for `url`."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


class Cluster:
    """A connection to one API server. Every call has a time limit; none retries."""

    def __init__(self, api: client.ApiClient, timeout: float = 30.0, manager: str = "steno-operator") -> None:
        """Use a client that is configured.

        Args:
            api: the client.
            timeout: seconds for a request.
            manager: the field manager of what is written.
        """
        self._api = api
        self._timeout = timeout
        self._manager = manager

    @classmethod
    async def connect(cls, program: str = "steno-operator") -> Self:
        """Connect by `KUBECONFIG` if set, else as the pod's ServiceAccount, else by `~/.kube/config`.

        Args:
            program: who connects: the user agent, and the field manager of what is written.

        Raises:
            config.ConfigException: none of them is there or valid.
        """
        configuration = client.Configuration()
        # None: every watch of every served namespace holds one, and no request, least of all the lease's, waits for it.
        configuration.connection_pool_maxsize = 0
        if not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
        else:
            kubeconfig = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
            await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        configuration.proxy = configuration.proxy or environment_proxy(configuration.host)
        # Else aiohttp reads the environment's proxies and ~/.netrc, in two threads, for every single request.
        configuration.client_session_kwargs = {"trust_env": False}
        api = client.ApiClient(configuration)
        api.user_agent = program
        return cls(api, manager=program)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _open(  # noqa: PLR0917 - private, and called twice
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any,
        headers: dict[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        reply = await self._api.call_api(*request, _request_timeout=limit)
        return reply.response

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,  # noqa: ASYNC109 - aiohttp has its own clock
    ) -> dict[str, Any]:
        """Send one request and return the decoded answer.

        Args:
            method: HTTP method.
            path: URL path.
            query: query parameters.
            body: to be sent as JSON.
            content_type: of the body.
            accept: media type of the answer.
            timeout: seconds for the whole request; None for the default.

        Raises:
            ApiError: the server refused.
            UnreachableError: there was no answer.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        data = await self._exchange(method, path, query or {}, body, headers, timeout)
        return json.loads(data) if data else {}

    async def _exchange(  # noqa: PLR0917 - private, and called twice
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any,
        headers: dict[str, str],
        timeout: float | None = None,  # noqa: ASYNC109 - aiohttp has its own clock
        most: int | None = None,
    ) -> bytearray:
        """Send one request and return the bytes of the answer, `most` of them at most."""
        limit = aiohttp.ClientTimeout(total=timeout or self._timeout)
        data = bytearray()
        try:
            response = await self._open(method, path, query, body, headers, limit)
            async with response:
                async for part in response.content.iter_chunked(_CHUNK_BYTES):
                    data += part
                    if most is not None and len(data) > most:
                        response.close()
                        raise _TooLargeError
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {type(error).__name__}: {error}") from error
        if not 200 <= response.status < 300:
            raise ApiError.of(response.status, bytes(data), response.headers.get("Retry-After"))
        return data

    async def get(self, kind: ResourceType, namespace: str | None, name: str) -> dict[str, Any]:
        """Read one object live.

        Args:
            kind: type of the object.
            namespace: None for a cluster-scoped object.
            name: of the object.

        Raises:
            ApiError: the server refused; 404 when the object does not exist.
            UnreachableError: there was no answer.
        """
        return await self.request("GET", kind.path(namespace, name))

    async def create(self, kind: ResourceType, namespace: str | None, body: Any, **options: Any) -> dict[str, Any]:
        """Create an object under our field manager; return it as stored.

        Args:
            kind: type of the object.
            namespace: None for a cluster-scoped object.
            body: the manifest.
            options: of `request`.
        """
        return await self.request(
            "POST", kind.path(namespace), query={"fieldManager": self._manager}, body=body, **options
        )

    async def merge_patch(
        self,
        kind: ResourceType,
        namespace: str | None,
        name: str,
        body: Any,
        subresource: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Apply an RFC 7386 merge patch; return the object as stored.

        Args:
            kind: type of the object.
            namespace: None for a cluster-scoped object.
            name: of the object.
            body: the patch; `metadata.uid` and `metadata.resourceVersion` in it are preconditions.
            subresource: for example `status`.
            options: of `request`.
        """
        return await self.request(
            "PATCH",
            kind.path(namespace, name, subresource),
            query={"fieldManager": self._manager},
            body=body,
            content_type=MERGE_PATCH,
            **options,
        )

    async def apply(
        self, kind: ResourceType, body: dict[str, Any], *, force: bool, accept: str = JSON
    ) -> dict[str, Any]:
        """Apply a whole object under our field manager (server-side apply); `metadata.uid` is a precondition.

        Args:
            kind: type of the object.
            body: the manifest.
            force: take fields over from other managers; without it such a conflict is a 409.
            accept: media type of the answer.
        """
        metadata = body["metadata"]
        return await self.request(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]),
            query={"fieldManager": self._manager, "force": str(force).lower()},
            body=body,
            content_type=APPLY_PATCH,
            accept=accept,
        )

    async def delete(
        self, kind: ResourceType, namespace: str | None, name: str, uid: str, propagation: str
    ) -> dict[str, Any]:
        """Delete an object; the answer is the object if it still exists for a while.

        Args:
            kind: type of the object.
            namespace: None for a cluster-scoped object.
            name: of the object.
            uid: precondition: an object of that name with another UID is left alone.
            propagation: `Foreground`, `Background` or `Orphan`.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": uid},
        }
        return await self.request("DELETE", kind.path(namespace, name), body=body)

    async def pages(
        self, path: str, query: Mapping[str, Any] | None = None, accept: str = JSON
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of a list; each page is a `*List` object. Items lack metadata that is never read.

        Args:
            path: the collection.
            query: selectors.
            accept: media type of the pages.

        Raises:
            ApiError: the server refused; 410 when the list's `continue` token expired.
            UnreachableError: there was no answer.
        """
        token, size = "", PageSize(PAGE)
        headers = {"Accept": accept, "Content-Type": JSON}
        while True:
            asked = {**(query or {}), "limit": size.count, **({"continue": token} if token else {})}
            try:
                data = await self._exchange("GET", path, asked, None, headers, most=size.max_bytes)
            except _TooLargeError:
                size.shrink()
                continue
            page, read = decode(data), len(data)
            del data
            page["items"] = page.get("items") or []  # an empty list of metadata comes as null
            size.adapt(len(page["items"]), read)
            token = page["metadata"].get("continue", "")
            yield page
            if not token:
                return
            del page

    async def stream(
        self, path: str, query: Mapping[str, Any], inactivity: float
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield a watch's `(type, object)` until the server ends it, without metadata that is never read.

        Args:
            path: the collection.
            query: selectors, `resourceVersion`, `timeoutSeconds`.
            inactivity: seconds without a single event or bookmark after which the stream counts as broken.

        Raises:
            ApiError: the server refused, or sent an `ERROR` event (410: too old a `resourceVersion`).
            UnreachableError: the connection broke or went silent.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=inactivity)
        watch = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        try:
            response = await self._open("GET", path, watch, None, {"Accept": JSON}, limit)
            async with response:
                if response.status != 200:
                    raise ApiError.of(response.status, await response.read(), response.headers.get("Retry-After"))
                async for line in lines(response.content):
                    event = decode(line)
                    if event["type"] == "ERROR":
                        raise ApiError.of(500, event["object"])
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnreachableError(f"watch {path}: {type(error).__name__}: {error}") from error
