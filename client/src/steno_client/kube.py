"""Kubernetes client: the apiserver through the user's own kubeconfig, with errors that say what to do."""

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
    """The apiserver does not answer at the moment; callers that wait for something may try again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_TEMPORARY)


class NotInstalledError(CommandError):
    """The cluster does not have the CustomResourceDefinition of a kind."""

    def __init__(self, definition: ResourceDefinition) -> None:
        super().__init__(
            f"the cluster does not have {definition.plural}.{definition.group}: install Steno's chart, or choose "
            "another --context",
            EXIT_UNAVAILABLE,
        )


@dataclass(frozen=True)
class ClusterContext:
    """Which cluster and namespace to use; `None` means the setting of the kubeconfig."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


class Cluster:
    """A connection to one cluster, with the namespace to work in.

    All methods raise `CommandError`, of which `NotInstalledError` and `UnreachableError` are special cases.
    """

    def __init__(self, context: ClusterContext) -> None:
        """Read the kubeconfig, without contacting the cluster.

        Raises:
            CommandError: there is no kubeconfig, or it does not have the context.
        """
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns about retries, which users need not see
        file = str(context.kubeconfig) if context.kubeconfig else os.environ.get("KUBECONFIG")
        try:
            if file is None and context.context is None and _only_in_cluster():
                settings = client.Configuration()
                config.load_incluster_config(client_configuration=settings)
                api, found = client.ApiClient(settings), _IN_CLUSTER_NAMESPACE.read_text().strip()
            else:
                api = config.new_client_from_config(config_file=file, context=context.context)
                found = _namespace_of(file, context.context)
        except (ConfigException, OSError, ValueError) as error:
            raise CommandError(
                f"no cluster is configured: {error}: set KUBECONFIG or give --kubeconfig and --context", EXIT_NOT_FOUND
            ) from error
        self.server = str(api.configuration.host)
        self.namespace = context.namespace or found or "default"
        self._custom, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def get_resource(self, definition: ResourceDefinition, name: str) -> dict[str, Any] | None:
        """Return the resource of that name in the namespace, or None."""
        with self._errors_explained(definition):
            try:
                found = self._custom.get_namespaced_custom_object(*self._path(definition), name, **_timeouts())
                return cast("dict[str, Any]", found)
            except ApiException as error:
                if error.status == 404 and _status_of(error):
                    return None
                raise

    def get_cluster_resource(self, definition: ResourceDefinition, name: str) -> dict[str, Any] | None:
        """Return the cluster-scoped resource of that name, or None."""
        with self._errors_explained(definition):
            try:
                found = self._custom.get_cluster_custom_object(
                    definition.group, definition.version, definition.plural, name, **_timeouts()
                )
                return cast("dict[str, Any]", found)
            except ApiException as error:
                if error.status == 404 and _status_of(error):
                    return None
                raise

    def list_resources(self, definition: ResourceDefinition, *, all_namespaces: bool = False) -> list[dict[str, Any]]:
        """Return all resources of a kind in the namespace, or in all namespaces."""
        with self._errors_explained(definition):
            if all_namespaces:
                found = self._custom.list_cluster_custom_object(
                    definition.group, definition.version, definition.plural, **_timeouts()
                )
            else:
                found = self._custom.list_namespaced_custom_object(*self._path(definition), **_timeouts())
            return cast("dict[str, Any]", found)["items"]

    def create_resource(
        self, definition: ResourceDefinition, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Create a resource, and return it as the apiserver stored it; unknown fields are refused.

        Args:
            definition: its kind.
            body: the manifest, without a namespace or with that of this connection.
            dry_run: only have the apiserver check it.
        """
        parameters = {"dry_run": "All"} if dry_run else {}
        with self._errors_explained(definition):
            created = self._custom.create_namespaced_custom_object(
                *self._path(definition), dict(body), field_validation="Strict", field_manager="steno", **parameters,
                **_timeouts(),
            )  # fmt: skip
            return cast("dict[str, Any]", created)

    def watch_resource(
        self, definition: ResourceDefinition, name: str, since: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Watch one resource for `WATCH_SECONDS`.

        Args:
            definition: its kind.
            name: its name.
            since: the resourceVersion after which changes are yielded.

        Yields:
            Pairs of an event's type (`ADDED`, `MODIFIED`, `DELETED`) and the resource.
        """
        with self._errors_explained(definition):
            events = watch.Watch().stream(
                self._custom.list_namespaced_custom_object,
                *self._path(definition),
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
                if error.status != 410:  # 410: the version has expired, so the caller gets and watches again
                    raise

    def read_secret(self, name: str) -> dict[str, str]:
        """Return the keys and decoded values of a Secret in the namespace."""
        with self._errors_explained():
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
                raise CommandError(f"the Secret {name} has a value that is not text", EXIT_INPUT) from error

    def read_secret_if_any(self, name: str) -> dict[str, str]:
        """Return the keys and decoded values of a Secret in the namespace; empty if there is none."""
        try:
            return self.read_secret(name)
        except CommandError as error:
            if error.exit_code != EXIT_NOT_FOUND:
                raise
            return {}

    def write_secret(self, name: str, entries: Mapping[str, str | None], kind: str) -> None:
        """Set and remove entries of a Secret in the namespace, which is created if it is not there.

        Args:
            name: of the Secret.
            entries: values by key; None removes one. What is not named stays.
            kind: the Secret's type.
        """
        texts = {key: value for key, value in entries.items() if value is not None}
        patch = {"stringData": texts, "data": {key: None for key in entries if key not in texts}}
        body = client.V1Secret(metadata=client.V1ObjectMeta(name=name), type=kind, string_data=texts)
        with self._errors_explained():
            # Another may create it between the two: then these entries are set in theirs.
            if not self._patch_secret(name, patch) and not self._create_secret(body):
                self._patch_secret(name, patch)

    def _patch_secret(self, name: str, patch: dict[str, Any]) -> bool:
        """Return whether there is such a Secret."""
        try:
            self._core.patch_namespaced_secret(name, self.namespace, patch, **_timeouts())
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True

    def _create_secret(self, body: client.V1Secret) -> bool:
        """Return whether it was not there before."""
        try:
            self._core.create_namespaced_secret(self.namespace, body, **_timeouts())
        except ApiException as error:
            if error.status == 409:
                return False
            raise
        return True

    def _path(self, definition: ResourceDefinition) -> tuple[str, str, str, str]:
        return definition.group, definition.version, self.namespace, definition.plural

    @contextmanager
    def _errors_explained(self, definition: ResourceDefinition | None = None) -> Generator[None]:
        try:
            yield
        except ApiException as error:
            raise self._error_for(error, definition) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            tls = "certificate" in str(error).lower()
            why = "its certificate is not trusted" if tls else "it does not answer"
            raise UnreachableError(
                f"cannot reach the cluster at {self.server}: {why}: check the network and --context"
            ) from error

    def _error_for(self, error: ApiException, definition: ResourceDefinition | None) -> CommandError:
        status = _status_of(error)
        message = str(status.get("message") or error.reason or error.status)
        if error.status == 404 and definition is not None and not status:
            return NotInstalledError(definition)
        if error.status in (400, 413, 422):
            return CommandError(_causes(status) or message, EXIT_INPUT)
        known = {
            401: (f"the cluster at {self.server} rejects the credentials of the kubeconfig: log in again", EXIT_DENIED),
            403: (f"{message}: ask the cluster's administrator for this permission", EXIT_DENIED),
            404: (f"{message}: check --namespace and --context", EXIT_NOT_FOUND),
            409: (f"{message}: choose another name, or delete the existing one first (kubectl delete)", EXIT_INPUT),
        }.get(error.status or 0)
        if known:
            return CommandError(*known)
        return UnreachableError(f"the cluster at {self.server} cannot answer now ({message}): try again")


def _only_in_cluster() -> bool:
    """Whether this process runs in a pod and has no kubeconfig."""
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


def _status_of(error: ApiException) -> dict[str, Any]:
    """Return the `metav1.Status` of an error; empty if a proxy answered with something else."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def _causes(status: Mapping[str, Any]) -> str:
    """Return the causes that the apiserver gives, each with its field."""
    causes = (status.get("details") or {}).get("causes") or []
    return "; ".join(f"{one.get('field', '')}: {one.get('message', '')}".removeprefix(": ") for one in causes)
