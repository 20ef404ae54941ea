"""Creating what manifests describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steno_client import follow
from steno_client.errors import EXIT_INPUT, CommandError
from steno_client.kube import Cluster, Where
from steno_client.manifests import Manifest
from steno_client.resource import Followed


def submit(manifests: Sequence[Manifest], where: Where, *, wait: bool) -> None:
    """Creates every resource, prints its name, and follows each if told to.

    Several are all shown to the apiserver first, so that none is created where one would be refused.

    Raises:
        CommandError: one is refused, or failed (`wait`); the text says which and why.
    """
    clusters = {one.namespace: Cluster(_namespace(one, where)) for one in manifests}
    if len(manifests) > 1:
        for one in manifests:
            _create(clusters[one.namespace], one, dry_run=True)
    created: list[tuple[Cluster, Followed]] = []
    for one in manifests:
        cluster = clusters[one.namespace]
        created.append((cluster, _create(cluster, one)))
        print(created[-1][1].shown, flush=True)
    failures: list[CommandError] = []
    for cluster, resource in created if wait else ():
        try:
            follow.tail(cluster, resource)
        except CommandError as error:
            failures.append(error)
    if failures:
        raise CommandError("; ".join(str(one) for one in failures), failures[0].exit_code)


def _create(cluster: Cluster, manifest: Manifest, *, dry_run: bool = False) -> Followed:
    try:
        body = cluster.create(manifest.definition, manifest.body, dry_run=dry_run)
    except CommandError as error:
        raise CommandError(f"{manifest.shown}: {error}", error.exit_code) from error
    return Followed.read(manifest.definition, body)


def _namespace(manifest: Manifest, where: Where) -> Where:
    """The manifest's namespace, unless the command line names another."""
    own = manifest.namespace
    if own and where.namespace and own != where.namespace:
        raise CommandError(
            f"{manifest.shown}: metadata.namespace is {own}, --namespace is {where.namespace}: leave one out",
            EXIT_INPUT,
        )
    return replace(where, namespace=where.namespace or own)
