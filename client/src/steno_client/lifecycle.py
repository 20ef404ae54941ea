"""Resource lifecycle: create resources from manifests, and wait for them with get and watch, as `kubectl wait` does.

Waiting survives outages: an apiserver that does not answer is tried again for `OUTAGE_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from steno_client.errors import EXIT_INPUT, EXIT_NOT_FOUND, CommandError
from steno_client.kube import Cluster, ClusterContext, UnreachableError
from steno_client.manifests import Manifest
from steno_client.resource import ResourceView

OUTAGE_SECONDS = 300.0
"""How long an apiserver may not answer before waiting gives up."""
MAX_BACKOFF_SECONDS = 15.0


@dataclass(frozen=True)
class CreatedResource:
    """A resource that was created, and the connection to its cluster and namespace."""

    cluster: Cluster
    resource: ResourceView


def create_resources(manifests: Sequence[Manifest], context: ClusterContext) -> Iterator[CreatedResource]:
    """Create the resources that manifests describe, and yield each one once it exists.

    Several manifests are first sent as a dry run, so that nothing is created if the apiserver refuses one of them.

    Args:
        manifests: the resources to create.
        context: the cluster, and the namespace of manifests that do not name one.

    Raises:
        CommandError: a manifest was refused; the text names it and the reason.
    """
    clusters = {one.namespace: Cluster(_context_of(one, context)) for one in manifests}
    if len(manifests) > 1:
        for one in manifests:
            _create(clusters[one.namespace], one, dry_run=True)
    for one in manifests:
        cluster = clusters[one.namespace]
        yield CreatedResource(cluster, _create(cluster, one))


def _create(cluster: Cluster, manifest: Manifest, *, dry_run: bool = False) -> ResourceView:
    try:
        body = cluster.create_resource(manifest.definition, manifest.body, dry_run=dry_run)
    except CommandError as error:
        raise CommandError(f"{manifest.display_name}: {error}", error.exit_code) from error
    return ResourceView.from_body(manifest.definition, body)


def _context_of(manifest: Manifest, context: ClusterContext) -> ClusterContext:
    """Return the context with the namespace of the manifest, which must not contradict the command line."""
    own = manifest.namespace
    if own and context.namespace and own != context.namespace:
        raise CommandError(
            f"{manifest.display_name}: metadata.namespace is {own}, but --namespace is {context.namespace}: "
            "leave one of them out",
            EXIT_INPUT,
        )
    return replace(context, namespace=context.namespace or own)


def wait_until_finished(
    cluster: Cluster, resource: ResourceView, on_change: Callable[[ResourceView], None], on_retry: Callable[[str], None]
) -> ResourceView:
    """Wait until a resource has finished. See `wait_until`."""
    return wait_until(cluster, resource, lambda one: one.finished, on_change, on_retry)


def wait_until(
    cluster: Cluster,
    resource: ResourceView,
    condition: Callable[[ResourceView], bool],
    on_change: Callable[[ResourceView], None],
    on_retry: Callable[[str], None],
) -> ResourceView:
    """Wait until a condition holds or the resource has finished, and return the resource in that state.

    Args:
        cluster: where the resource is.
        resource: the resource to wait for; one of the same name with another UID does not count.
        condition: what to wait for.
        on_change: called with each state in which the condition does not hold yet.
        on_retry: called with an explanation before an apiserver that does not answer is tried again.

    Raises:
        CommandError: the resource was deleted, or the apiserver did not answer for `OUTAGE_SECONDS`.
    """
    last_answer, backoff = time.monotonic(), 0.5
    while True:
        try:
            for seen in _states(cluster, resource):
                last_answer, backoff = time.monotonic(), 0.5
                if seen.finished or condition(seen):
                    return seen
                on_change(seen)
        except UnreachableError as error:
            if time.monotonic() - last_answer > OUTAGE_SECONDS:
                raise
            on_retry(f"{error}; trying again")
            time.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)


def _states(cluster: Cluster, resource: ResourceView) -> Iterator[ResourceView]:
    """Yield the present state of a resource, then its changes until the watch expires."""
    definition, name = resource.definition, resource.name
    body = cluster.get_resource(definition, name)
    now = None if body is None else ResourceView.from_body(definition, body)
    if now is None or now.metadata.uid != resource.metadata.uid:
        raise _deleted(resource)
    yield now
    for type_, changed in cluster.watch_resource(definition, name, now.metadata.resource_version):
        if type_ == "DELETED":
            raise _deleted(resource)
        if type_ in ("ADDED", "MODIFIED"):
            seen = ResourceView.from_body(definition, changed)
            if seen.metadata.uid != resource.metadata.uid:
                raise _deleted(resource)
            yield seen


def _deleted(resource: ResourceView) -> CommandError:
    return CommandError(f"{resource.display_name} was deleted before it finished", EXIT_NOT_FOUND)
