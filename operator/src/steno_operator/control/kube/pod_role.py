"""Role of the operator's own pod: a label, by which the report Service selects the leader.

Separate because it is the operator's alone; the lease itself is the gateway's, too.
"""

from __future__ import annotations

import asyncio
import logging

from steno_kube.backoff import Backoff
from steno_kube.client import PODS, ApiError, Cluster, UnreachableError

log = logging.getLogger(__name__)

ROLE_LABEL = "steno.dev/role"


async def label_pod(cluster: Cluster, namespace: str, pod: str, role: str) -> None:
    """Label our own pod, and try until it works: the report Service selects the leader by the label.

    Args:
        cluster: where the pod is.
        namespace: its namespace.
        pod: its name.
        role: `leader` or `standby`.
    """
    backoff, failures = Backoff(0.5, 15.0), 0
    while True:
        try:
            await cluster.merge_patch(PODS, namespace, pod, {"metadata": {"labels": {ROLE_LABEL: role}}})
        except (ApiError, UnreachableError) as error:
            failures += 1
            delay = backoff.delay(failures)
            log.warning("labelling pod %s as %s: %s; trying again in %.1f s", pod, role, error, delay)
            await asyncio.sleep(delay)
        else:
            return
