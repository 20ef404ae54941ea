"""Watch sources: which reflector feeds which cache, for everything that is not a custom resource.

Apart from the manager, which puts rooms together and need not know what is selected by which label.

Separate because it is the one list of what the operator watches; the manager only runs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from steno_kube.client import DEPLOYMENTS, EVENTS, JOBS, PODS, SERVICES, Cluster
from steno_kube.reflector import Reflector, Sink, Target, Timing
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.job_records import FAILED_CREATE, POD_WARNINGS
from steno_operator.manifests import labels


def reflectors(cluster: Cluster, state: ClusterState, namespaces: Iterable[str], timing: Timing) -> list[Reflector]:
    """Return the reflectors of children, pods and Events.

    Args:
        cluster: where to watch.
        state: has the caches that they feed.
        namespaces: the namespaces served; empty: all.
        timing: time limits.
    """
    ours, pools = {"labelSelector": labels.JOB_SELECTOR}, {"labelSelector": labels.POOL_SELECTOR}
    found: list[Reflector] = []
    for namespace in list(namespaces) or [None]:
        watched: list[tuple[str, str, dict[str, str], Sink]] = [
            ("jobs", JOBS.path(namespace), ours, state.jobs),
            ("pods", PODS.path(namespace), ours, state.pods),
            ("deployments", DEPLOYMENTS.path(namespace), pools, state.deployments),
            ("services", SERVICES.path(namespace), pools, state.services),
            ("servers", PODS.path(namespace), pools, state.servers),
            (f"events-{FAILED_CREATE}", EVENTS.path(namespace), _warnings(FAILED_CREATE, "Job"), state.warnings),
        ]
        watched += [
            (f"events-{reason}", EVENTS.path(namespace), _warnings(reason, "Pod"), state.warnings)
            for reason in POD_WARNINGS
        ]
        suffix = f"/{namespace}" if namespace else ""
        for name, path, selectors, cache in watched:
            target = Target(f"{name}{suffix}", path, selectors, namespace)
            found.append(Reflector(cluster, target, cache, timing))
    return found


def _warnings(reason: str, kind: str) -> dict[str, str]:
    return {"fieldSelector": f"type=Warning,reason={reason},involvedObject.kind={kind}"}
