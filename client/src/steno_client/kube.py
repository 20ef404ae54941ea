"""The cluster, through the user's own kubeconfig."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import urllib3
from kubernetes import client, config, watch
from kubernetes.client import ApiException
from kubernetes.config import ConfigException

from steno_api.v1alpha1.meta import ResourceDefinition
from steno_client.errors import (
    EXIT_DENIED,
    EXIT_INPUT,
    EXIT_NOT_FOUND,
    EXIT_TEMPORARY,
    EXIT_UNAVAILABLE,
    CommandError,
)

CONNECT_SECONDS, READ_SECONDS, WATCH_SECONDS = 10, 60, 240
_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class UnreachableError(CommandError):
    """The apiserver did not answer, or not now: who follows something may try again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_TEMPORARY)


class NotInstalledError(CommandError):
    """The cluster does not know the kind."""

    def __init__(self, definition: ResourceDefinition) -> None:
        super().__init__(
            f"the cluster does not know {definition.plural}.{definition.group}: install Steno's chart, or choose "
            "another --context",
            EXIT_UNAVAILABLE,
        )


@dataclass(frozen=True)
class Where:
    """Which cluster and namespace, as the command line says; `None`: as the kubeconfig says."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


class Cluster:
    """One cluster, with one namespace to work in."""

    def __init__(self, where: Where) -> None:
        """Reads the kubeconfig; asks nothing of the cluster.

        Raises:
            CommandError: there is none, or it lacks the context.
        """
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings about retries are no news for users
        file = str(where.kubeconfig) if where.kubeconfig else os.environ.get("KUBECONFIG")
        try:
            if file is None and where.context is None and _only_in_cluster():
                settings = client.Configuration()
                config.load_incluster_config(client_configuration=settings)
                api, found = client.ApiClient(settings), _IN_CLUSTER_NAMESPACE.read_text().strip()
            else:
                api = config.new_client_from_config(config_file=file, context=where.context)
                found = _namespace_of(file, where.context)
        except (ConfigException, OSError, ValueError) as error:
            raise CommandError(
                f"no cluster to talk to: {error}: set KUBECONFIG or give --kubeconfig and --context", EXIT_NOT_FOUND
            ) from error
        self.server = str(api.configuration.host)
        self.namespace = where.namespace or found or "default"
        self._custom, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def get(self, definition: ResourceDefinition, name: str) -> dict[str, Any] | None:
        """Returns the resource of that name in the namespace, or None.

        Raises:
            CommandError: also `NotInstalledError` and `UnreachableError`, as of every method.
        """
        with self._explained(definition):
            try:
                found = self._custom.get_namespaced_custom_object(*self._place(definition), name, **_timeouts())
                return cast("dict[str, Any]", found)
            except ApiException as error:
                if error.status == 404 and _status(error):
                    return None
                raise

    def list(self, definition: ResourceDefinition, *, everywhere: bool = False) -> list[dict[str, Any]]:
        """Returns every resource of a kind in the namespace, or in all."""
        with self._explained(definition):
            if everywhere:
                found = self._custom.list_cluster_custom_object(
                    definition.group, definition.version, definition.plural, **_timeouts()
                )
            else:
                found = self._custom.list_namespaced_custom_object(*self._place(definition), **_timeouts())
            return cast("dict[str, Any]", found)["items"]

    def create(
        self, definition: ResourceDefinition, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Creates a resource; unknown fields are refused."""
        more = {"dry_run": "All"} if dry_run else {}
        with self._explained(definition):
            created = self._custom.create_namespaced_custom_object(
                *self._place(definition), dict(body), field_validation="Strict", field_manager="steno", **more,
                **_timeouts(),
            )  # fmt: skip
            return cast("dict[str, Any]", created)

    def changes(self, definition: ResourceDefinition, name: str, since: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields `(type, resource)` of what happens to one resource after the version `since`, for some minutes."""
        with self._explained(definition):
            events = watch.Watch().stream(
                self._custom.list_namespaced_custom_object,
                *self._place(definition),
                field_selector=f"metadata.name={name}",
                resource_version=since,
                timeout_seconds=WATCH_SECONDS,
                _request_timeout=(CONNECT_SECONDS, WATCH_SECONDS + 30),
            )
            try:
                for event in events:
                    change = cast("dict[str, Any]", event)
                    yield change["type"], change["object"]
            except ApiException as error:
                if error.status != 410:  # the version is too old to watch from: the caller looks and watches again
                    raise

    def secret(self, name: str) -> dict[str, str]:
        """Returns the keys and values of a Secret in the namespace."""
        with self._explained():
            try:
                found = self._core.read_namespaced_secret(name, self.namespace, **_timeouts())
            except ApiException as error:
                if error.status == 404:
                    raise CommandError(
                        f"the Secret {name} is not in the namespace {self.namespace}", EXIT_NOT_FOUND
                    ) from error
                raise
            try:
                return {key: base64.b64decode(value).decode().strip() for key, value in (found.data or {}).items()}
            except ValueError as error:
                raise CommandError(f"the Secret {name} has a value that is no text", EXIT_INPUT) from error

    def _place(self, definition: ResourceDefinition) -> tuple[str, str, str, str]:
        return definition.group, definition.version, self.namespace, definition.plural

    @contextmanager
    def _explained(self, definition: ResourceDefinition | None = None) -> Generator[None]:
        try:
            yield
        except ApiException as error:
            raise self._refusal(error, definition) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            tls = "certificate" in str(error).lower()
            why = "its certificate is not trusted" if tls else "it does not answer"
            raise UnreachableError(
                f"cannot reach the cluster at {self.server}: {why}: check the network and --context"
            ) from error

    def _refusal(self, error: ApiException, definition: ResourceDefinition | None) -> CommandError:
        status = _status(error)
        said = str(status.get("message") or error.reason or error.status)
        if error.status == 404 and definition is not None and not status:
            return NotInstalledError(definition)
        if error.status in (400, 413, 422):
            return CommandError(_causes(status) or said, EXIT_INPUT)
        known = {
            401: (f"the cluster at {self.server} refuses the kubeconfig's credentials: log in again", EXIT_DENIED),
            403: (f"{said}: ask the cluster's administrator for this right", EXIT_DENIED),
            404: (f"{said}: check --namespace and --context", EXIT_NOT_FOUND),
            409: (f"{said}: choose another name, or delete that one first (kubectl delete)", EXIT_INPUT),
        }.get(error.status or 0)
        if known:
            return CommandError(*known)
        return UnreachableError(f"the cluster at {self.server} cannot answer now ({said}): try again")


def _only_in_cluster() -> bool:
    """Whether this is a pod without a kubeconfig."""
    default = Path(os.environ.get("KUBECONFIG") or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION).expanduser()
    return "KUBERNETES_SERVICE_HOST" in os.environ and _IN_CLUSTER_NAMESPACE.exists() and not default.exists()


def _namespace_of(file: str | None, context: str | None) -> str | None:
    contexts, active = cast(
        "tuple[list[dict[str, Any]], dict[str, Any]]", config.list_kube_config_contexts(config_file=file)
    )
    chosen = next((one for one in contexts if one["name"] == context), active)
    return chosen["context"].get("namespace")


def _timeouts() -> dict[str, Any]:
    return {"_request_timeout": (CONNECT_SECONDS, READ_SECONDS)}


def _status(error: ApiException) -> dict[str, Any]:
    """The `metav1.Status` of a refusal; empty where a proxy or the server itself answered with something else."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def _causes(status: Mapping[str, Any]) -> str:
    """The apiserver's reasons, each with its field."""
    causes = (status.get("details") or {}).get("causes") or []
    return "; ".join(f"{one.get('field', '')}: {one.get('message', '')}".removeprefix(": ") for one in causes)
