"""The operator's settings that decide: handed to the planner with every call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from steno_api.worker.task import EgressRules
from steno_queue.settings import QueueSettings

PROFILE_RECHECK = timedelta(seconds=30)
"""How often a resource whose profile or pool is missing is requeued, should the watch miss its creation."""

CONFLICT_RECHECK = timedelta(seconds=5)
"""How often an object that has a child's name but is not ours is read again: such objects are not watched."""


@dataclass(frozen=True)
class DefaultPool:
    """The pool that is created on demand."""

    profile: str = "gpu"
    model: str = "large-v3"
    max_replicas: int = 1
    sessions_per_replica: int = 16
    tls_secret: str = ""
    """Secret with its certificate, in each namespace that has such a pool; empty: plain text."""


@dataclass(frozen=True)
class QueuePolicy:
    """The queue server, as the operator reaches it and as the servers of pools do."""

    settings: QueueSettings
    """With `{namespace}` and `{pool}` in the URLs, where each pool has a queue of its own on the server."""
    pool_secret: str = ""
    """Secret in each pool's namespace with the credentials of its servers; empty: their own identity."""

    @property
    def silence(self) -> timedelta:
        """An attempt that nothing is heard of for this long is published again: its message may be lost."""
        return timedelta(seconds=3 * self.settings.visibility_seconds)

    def of_pool(self, namespace: str, pool: str) -> QueueSettings:
        """Return the settings of a pool's queue, for the operator."""
        urls = {"url": self.settings.url, "dead_letter_url": self.settings.dead_letter_url}
        names = {"{namespace}": namespace, "{pool}": pool}
        for mark, name in names.items():
            urls = {field: url.replace(mark, name) for field, url in urls.items()}
        return self.settings.model_copy(update={**urls, "name": f"steno/{namespace}/{pool}"})

    def of_servers(self, namespace: str, pool: str, folder: str) -> QueueSettings:
        """Return the settings of a pool's queue, for its servers.

        Args:
            namespace: of the pool.
            pool: its name.
            folder: where they have the Secret.
        """
        found, where = self.of_pool(namespace, pool), Path(folder) if self.pool_secret else None
        authority = None if where is None or found.ca_file is None else where / found.ca_file.name
        return found.model_copy(update={"credentials_dir": where, "ca_file": authority})


@dataclass(frozen=True)
class Policy:
    """Constants of a running operator."""

    runtime_image: str
    report_url: str
    """Base URL of the report endpoint as worker pods reach it, e.g. `https://steno-operator.steno-system.svc:8080`."""
    report_ca: str | None = None
    """CA certificates (PEM) that worker pods verify it with; None: those of their image."""
    metrics_token_sha256: str | None = None
    """Of the token that servers' `/metrics` needs; None: none."""
    backoff_base: timedelta = timedelta(seconds=10)
    """Wait before the second attempt; doubled for each further one."""
    backoff_max: timedelta = timedelta(minutes=6)
    image_pull_timeout: timedelta = timedelta(minutes=10)
    """An image that cannot be pulled for this long fails the attempt as `ImagePull`."""
    pod_start_timeout: timedelta = timedelta(minutes=10)
    """A pod that something other than its image keeps from starting for this long fails the attempt as `StartFailed`;
    nodes that reject every pod for this long fail attempts for good."""
    sidecar_timeout: timedelta = timedelta(seconds=15)
    """A pod whose other containers outlast its worker by this long is stopped."""
    node_lost_timeout: timedelta = timedelta(seconds=60)
    """A deleted pod that is still there this long after its grace period is on a lost node."""
    node_unreachable_timeout: timedelta = timedelta(minutes=5)
    """A running pod whose node is not heard of for this long is on a lost node, even if its tolerations keep Kubernetes
    from deleting it; the default of `tolerationSeconds` for unreachable nodes."""
    name_conflict_timeout: timedelta = timedelta(minutes=2)
    """A conflicting Job with a child's name (often that of a just deleted namesake) fails the job after this."""
    progress_interval: timedelta = timedelta(seconds=10)
    """Progress is written at most this often, …"""
    progress_step: int = 5
    """… or when it rose by this many percent, or its stage changed."""
    session_token: timedelta = timedelta(hours=1)
    """How long a session's token opens connections; it is replaced when a third of that is left."""
    server_report_interval: timedelta = timedelta(seconds=2)
    """How often a pool's servers report."""
    default_pool: DefaultPool = DefaultPool()
    egress: EgressRules = field(default_factory=EgressRules)
    """Networks that sources and outputs may be on."""
    queue: QueuePolicy | None = None
    """Of jobs with `execution: Pool`; None: there is no queue server."""
    pod_labels: dict[str, str] = field(default_factory=dict[str, str])
