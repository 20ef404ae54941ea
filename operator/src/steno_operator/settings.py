"""The operator's settings: environment variables that begin with `STENO_`."""

from __future__ import annotations

import ipaddress
import socket
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from steno_api.worker.task import EgressRules
from steno_operator.plan.common.policy import DefaultPool, Policy, QueuePolicy
from steno_queue.settings import QueueSettings

CA_FILE = "ca.crt"
"""In the queue's directory: the CA certificates that its server is verified with."""


class Settings(BaseSettings):
    """One field per variable: `runtime_image` is `STENO_RUNTIME_IMAGE`."""

    model_config = SettingsConfigDict(env_prefix="STENO_", frozen=True)

    runtime_image: str
    """Image of worker pods, unless their profile names one."""
    report_url: str
    """Base URL of the report endpoint as worker pods reach it."""
    report_ca_secret: str = ""
    """Secret in the own namespace with the CA of the report endpoint, made when it is missing; each replica has a
    certificate of it. Empty: see `report_tls_dir`."""
    report_tls_dir: str = ""
    """Directory with `tls.crt` and `tls.key` of the report endpoint, and `ca.crt` of those who report; empty, with no
    `report_ca_secret` either: plain text."""
    metrics_token_file: str = ""
    """File with the bearer token of `/metrics`, here and at pools' servers, which get its SHA-256; read at the start.
    Empty: none is needed."""
    namespaces: str = ""
    """Namespaces to serve, separated by commas; empty: all."""
    gateways: str = ""
    """ServiceAccounts, `<namespace>/<name>` separated by commas, that get tokens of the sessions with their label."""
    tenantless_namespaces: Literal["allow", "refuse"] = "allow"
    """Whether work in namespaces of no Tenant starts or waits until one has them."""
    allowed_networks: str = ""
    """Networks (CIDR), separated by commas, that sources and outputs may be on although a wider one is denied."""
    denied_networks: str = ""
    """Networks (CIDR), separated by commas, that no source or output may be on, beside those that never may."""
    pod_name: str = Field(default_factory=socket.gethostname)
    pod_namespace: str = "steno-system"
    """Where the Lease and our own pod are."""
    label_pod: bool = True
    """Label the own pod with its role; off when the operator runs outside of the cluster."""
    leader_election: bool = True
    lease_name: str = "steno-operator"
    lease_duration_seconds: float = Field(15.0, gt=0)
    lease_renew_seconds: float = Field(10.0, gt=0)
    lease_retry_seconds: float = Field(2.0, gt=0)
    host: str = "0.0.0.0"  # noqa: S104 - a Service reaches it
    report_port: int = Field(8080, ge=0, le=65535)
    """0: any free port (logged)."""
    probe_port: int = Field(8081, ge=0, le=65535)
    workers: int = Field(16, ge=1, le=256)
    """Resources that are reconciled at the same time."""
    backoff_base_seconds: float = Field(10.0, gt=0)
    """Wait before the second attempt of a job; doubled for each further one."""
    backoff_max_seconds: float = Field(360.0, gt=0)
    image_pull_timeout_seconds: float = Field(600.0, gt=0)
    pod_start_timeout_seconds: float = Field(600.0, gt=0)
    node_lost_timeout_seconds: float = Field(60.0, gt=0)
    name_conflict_timeout_seconds: float = Field(120.0, gt=0)
    progress_interval_seconds: float = Field(10.0, ge=0)
    session_key_secret: str = "steno-operator-session-key"  # noqa: S105 - a name
    """Secret in the own namespace with the key that signs session tokens; made when it is missing."""
    session_token_seconds: float = Field(3600.0, ge=3)
    """How long a session's token opens connections; it is replaced in time."""
    server_report_interval_seconds: float = Field(2.0, gt=0, le=4)
    """How often a pool's servers report, and learn whose tokens are void: within 5 s, so at most every 4."""
    default_pool_profile: str = "gpu"
    """RuntimeProfile of pools made on demand."""
    default_pool_model: str = "large-v3"
    default_pool_max_replicas: int = Field(1, ge=1, le=1000)
    default_pool_sessions_per_replica: int = Field(16, ge=1, le=1000)
    default_pool_tls_secret: str = ""
    """Secret of type `kubernetes.io/tls`, in the pool's namespace; empty: plain text."""
    queue: str = ""
    """The queue server of jobs with `execution: Pool`, as a JSON object of `steno_queue.settings.QueueSettings`;
    `{namespace}` and `{pool}` in its URLs are replaced by those of the pool. Empty: there is none."""
    queue_dir: str = ""
    """Directory with the operator's credentials for the queue server, and `ca.crt` of its CA; each may be absent."""
    queue_pool_secret: str = ""
    """Secret in each pool's namespace with the credentials of the pool's servers; empty: their own identity."""
    dead_letters_interval_seconds: float = Field(15.0, gt=0)
    """How often the queues are asked for messages that are delivered no more."""
    queue_backoff_base_seconds: float = Field(1.0, gt=0)
    """Wait after an error while reconciling; doubled for each further one."""
    queue_backoff_max_seconds: float = Field(300.0, gt=0)
    watch_inactivity_seconds: float = Field(70.0, ge=1)
    resync_interval_seconds: float = Field(60.0, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def served(self) -> tuple[str, ...]:
        """The namespaces to serve; empty: all."""
        return _items(self.namespaces)

    @field_validator("allowed_networks", "denied_networks")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for network in _items(value):
            ipaddress.ip_network(network, strict=False)
        return value

    @field_validator("queue")
    @classmethod
    def _check_queue(cls, value: str) -> str:
        if value and QueueSettings.model_validate_json(value).kind == "Memory":
            raise ValueError("a queue in memory is none that workers reach")
        return value

    @property
    def gateway_accounts(self) -> tuple[str, ...]:
        """The gateways' ServiceAccounts."""
        return _items(self.gateways)

    def policy(self) -> Policy:
        """Return the policy that plans are made with."""
        return Policy(
            runtime_image=self.runtime_image,
            report_url=self.report_url,
            egress=EgressRules(
                allowed_networks=list(_items(self.allowed_networks)), denied_networks=list(_items(self.denied_networks))
            ),
            backoff_base=timedelta(seconds=self.backoff_base_seconds),
            backoff_max=timedelta(seconds=self.backoff_max_seconds),
            image_pull_timeout=timedelta(seconds=self.image_pull_timeout_seconds),
            pod_start_timeout=timedelta(seconds=self.pod_start_timeout_seconds),
            node_lost_timeout=timedelta(seconds=self.node_lost_timeout_seconds),
            name_conflict_timeout=timedelta(seconds=self.name_conflict_timeout_seconds),
            progress_interval=timedelta(seconds=self.progress_interval_seconds),
            session_token=timedelta(seconds=self.session_token_seconds),
            server_report_interval=timedelta(seconds=self.server_report_interval_seconds),
            queue=self._queue_policy(),
            default_pool=DefaultPool(
                profile=self.default_pool_profile,
                model=self.default_pool_model,
                max_replicas=self.default_pool_max_replicas,
                sessions_per_replica=self.default_pool_sessions_per_replica,
                tls_secret=self.default_pool_tls_secret,
            ),
        )

    def _queue_policy(self) -> QueuePolicy | None:
        if not self.queue:
            return None
        folder = Path(self.queue_dir) if self.queue_dir else None
        files = set() if folder is None else {each.name for each in folder.iterdir() if not each.name.startswith(".")}
        mounted = {
            "credentials_dir": folder if files - {CA_FILE} else None,
            "ca_file": folder / CA_FILE if folder is not None and CA_FILE in files else None,
        }
        settings = QueueSettings.model_validate_json(self.queue).model_copy(update=mounted)
        return QueuePolicy(settings, self.queue_pool_secret)


def _items(text: str) -> tuple[str, ...]:
    """Return the parts of a list that commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
