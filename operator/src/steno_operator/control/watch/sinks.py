"""Between the watches and the store: which list of objects feeds which part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from steno_operator.control.cache.records import FAILED_CREATE, FAILED_MOUNT
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import DEPLOYMENTS, EVENTS, JOBS, PODS, SERVICES, Cluster
from steno_operator.control.watch.reflector import Target, Timing, Watcher
from steno_operator.manifests import labels


@dataclass(frozen=True)
class Feed:
    """A sink made of three functions."""

    put: Callable[[dict[str, Any]], None]
    drop: Callable[[dict[str, Any]], None]
    retain: Callable[[set[str], str], None]


def _nothing(*_: Any) -> None:
    """Events expire; what they told stays until the object they are about is gone."""


def watchers(cluster: Cluster, store: Store, namespaces: Iterable[str], timing: Timing) -> list[Watcher]:
    """Returns the watches of everything that is not a custom resource.

    Args:
        cluster: where to watch.
        store: what they feed.
        namespaces: the namespaces served; empty: all.
        timing: time limits.
    """
    ours, pools = {"labelSelector": labels.JOB_SELECTOR}, {"labelSelector": labels.POOL_SELECTOR}
    found: list[Watcher] = []
    for namespace in list(namespaces) or [None]:
        suffix = f"/{namespace}" if namespace else ""
        jobs = Feed(
            store.put_job,
            lambda raw: store.drop_job(raw["metadata"]["uid"]),
            lambda uids, version, scope=namespace: store.retain_jobs(scope, uids, version),
        )
        deployments = Feed(
            store.pools.put_deployment,
            lambda raw: store.pools.drop_deployment(raw["metadata"]["uid"]),
            lambda uids, version, scope=namespace: store.pools.retain_deployments(scope, uids, version),
        )
        services = Feed(
            store.pools.put_service,
            lambda raw: store.pools.drop_service(raw["metadata"]["uid"]),
            lambda uids, version, scope=namespace: store.pools.retain_services(scope, uids, version),
        )
        servers = Feed(
            store.pools.put_server,
            lambda raw: store.pools.drop_server(raw["metadata"]["uid"]),
            lambda uids, version, scope=namespace: store.pools.retain_servers(scope, uids, version),
        )
        pods = Feed(
            store.put_pod,
            lambda raw: store.drop_pod(raw["metadata"]["uid"]),
            lambda uids, version, scope=namespace: store.retain_pods(scope, uids, version),
        )
        warnings = Feed(lambda raw: _warn(store, raw), _nothing, _nothing)
        targets = [
            (Target(f"jobs{suffix}", JOBS.path(namespace), ours), jobs),
            (Target(f"pods{suffix}", PODS.path(namespace), ours), pods),
            (Target(f"deployments{suffix}", DEPLOYMENTS.path(namespace), pools), deployments),
            (Target(f"services{suffix}", SERVICES.path(namespace), pools), services),
            (Target(f"servers{suffix}", PODS.path(namespace), pools), servers),
            *(
                (Target(f"events-{reason}{suffix}", EVENTS.path(namespace), _events(reason, kind)), warnings)
                for reason, kind in ((FAILED_CREATE, "Job"), (FAILED_MOUNT, "Pod"))
            ),
        ]
        found += [Watcher(cluster, target, feed, timing) for target, feed in targets]
    return found


def _warn(store: Store, raw: dict[str, Any]) -> None:
    store.put_warning(raw)
    store.pools.put_warning(raw)


def _events(reason: str, kind: str) -> dict[str, str]:
    return {"fieldSelector": f"type=Warning,reason={reason},involvedObject.kind={kind}"}
