"""The Deployment of a RuntimePool's servers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from steno_api.credentials import S3_KEYS, WEB_KEYS, SecretKeys
from steno_api.s3 import CREDENTIAL_KEYS
from steno_api.server.task import PoolOutput, PoolQueue, PoolTask
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.worker.task import EgressRules, TaskReporting
from steno_operator.manifests import labels, paths
from steno_operator.manifests.pod_template import SERVER, Mount, PodRole, certificate_mount, pod_template, secret_mount
from steno_operator.manifests.task import job_ref
from steno_queue.settings import QueueSettings

HTTP_PORT = 8080
GRPC_PORT = 9090
PROBE_PORT = 8081
GRACE_SECONDS = 60
LAST_WORDS_SECONDS = 10
"""Part of the grace period, for what follows a drain: the last report, the last answers, and releasing the device."""
START_SECONDS = 1800
"""A server that has not answered once after this long is restarted: it may have to download a model first."""


class Queues(Protocol):
    """The queue server, as the manifest of a pool needs it."""

    @property
    def pool_secret(self) -> str:
        """Secret in the pool's namespace with its servers' credentials; empty: none."""
        ...

    def of_servers(self, namespace: str, pool: str, folder: str) -> QueueSettings:
        """Return the settings of a pool's queue; `folder` is where its servers have the Secret."""
        ...


QUEUE_KEYS = SecretKeys((), ("username", "password", *CREDENTIAL_KEYS, "AWS_SESSION_TOKEN"))
"""Of the queue server's credentials: those of Redis, or of AWS."""
JOB_KEYS = SecretKeys((), tuple(dict.fromkeys(key for keys in (S3_KEYS, WEB_KEYS) for key in keys.all)))
"""Of a Secret that jobs name: it may be for S3 or for https."""


@dataclass(frozen=True)
class ServerConfig:
    """What the operator's settings add to a pool."""

    runtime_image: str
    report_url: str
    report_interval_seconds: float
    token_keys: Sequence[str]
    """Public keys (PEM) that sign session tokens."""
    pod_labels: Mapping[str, str]
    report_ca: str | None = None
    """CA certificates (PEM) of an `https://` report URL."""
    metrics_token_sha256: str | None = None
    """Of the bearer token that servers' `/metrics` needs; None: none."""
    egress: EgressRules = field(default_factory=EgressRules)
    """Networks that sources and outputs may be on."""
    queue: Queues | None = None
    """None: there is no queue server."""


def server_tenant(pool: RuntimePool) -> str:
    """Return the tenant of the servers' labels and metrics: the spec's, else the namespace.

    Not the Tenant that has the namespace: this is part of the pod template, so creating or editing a Tenant would
    replace every server and end its sessions. Quota and usage are charged to that Tenant all the same.
    """
    return labels.default_tenant(pool.spec.tenant_name, pool.metadata.namespace)


def build_pool_task(pool: RuntimePool, profile: RuntimeProfile, config: ServerConfig) -> PoolTask:
    """Return the task of each server. It holds no secret: credentials are a directory of mounted files."""
    spec, output = pool.spec, pool.spec.output
    return PoolTask(
        pool=job_ref(pool.metadata),
        tenant=server_tenant(pool),
        model=spec.model,
        device="cpu" if profile.spec.accelerator is None else "auto",
        memoryMiB=profile.spec.accelerator.memory_mib if profile.spec.accelerator else None,
        model_store=paths.MODELS,
        model_digests={} if profile.spec.model_store is None else profile.spec.model_store.digests,
        hub_downloads=profile.spec.hub.downloads,
        scratch_dir=paths.SCRATCH,
        max_sessions=spec.sessions_per_replica,
        live=spec.serves_sessions,
        token_keys=list(config.token_keys),
        output=None
        if output is None
        else PoolOutput(
            endpointURL=output.endpoint_url,
            region=output.region,
            credentials_dir=None if output.secret_ref is None else paths.OUTPUT_CREDENTIALS,
        ),
        allowed_sources=spec.allowed_sources,
        min_source_bytes_per_second=profile.spec.min_source_bytes_per_second,
        unauthenticated=spec.unauthenticated,
        grpc_reflection=spec.grpc_reflection,
        max_document_pages=spec.max_document_pages,
        egress=config.egress,
        http_port=HTTP_PORT,
        grpc_port=GRPC_PORT,
        probe_port=PROBE_PORT,
        metricsTokenSHA256=config.metrics_token_sha256,
        tls_dir=None if spec.tls is None else paths.TLS,
        drain_seconds=_drain_seconds(profile),
        reporting=TaskReporting(
            url=config.report_url,
            ca=config.report_ca,
            token_file=f"{paths.TOKEN_DIR}/{paths.TOKEN_NAME}",
            interval_seconds=config.report_interval_seconds,
        ),
        queue=_pool_queue(pool, config),
    )


def _pool_queue(pool: RuntimePool, config: ServerConfig) -> PoolQueue | None:
    if config.queue is None or not pool.spec.serves_queue:
        return None
    ref = job_ref(pool.metadata)
    settings = config.queue.of_servers(ref.namespace, ref.name, paths.QUEUE_SERVER)
    return PoolQueue(settings=settings.to_wire(), credentials_root=paths.QUEUE_CREDENTIALS)


def _queue_mounts(pool: RuntimePool, config: ServerConfig) -> list[Mount]:
    """Return the credentials of the queue server, and those that jobs may use."""
    if config.queue is None or not pool.spec.serves_queue:
        return []
    mounts = [
        secret_mount(f"job-credentials-{number}", f"{paths.QUEUE_CREDENTIALS}/{name}", name, JOB_KEYS)
        for number, name in enumerate(pool.spec.secret_names)
    ]
    if config.queue.pool_secret:
        ref = job_ref(pool.metadata)
        authority = config.queue.of_servers(ref.namespace, ref.name, paths.QUEUE_SERVER).ca_file
        keys = SecretKeys(() if authority is None else (authority.name,), QUEUE_KEYS.optional)
        mounts.append(secret_mount("queue", paths.QUEUE_SERVER, config.queue.pool_secret, keys))
    return mounts


def build_deployment(pool: RuntimePool, profile: RuntimeProfile, config: ServerConfig, replicas: int) -> dict[str, Any]:
    """Return the `apps/v1` Deployment manifest, whole: to be applied under our field manager."""
    metadata = pool.metadata
    own = labels.pool_labels(name=metadata.name, uid=metadata.uid, tenant=server_tenant(pool))
    output = pool.spec.output
    credentials: list[Mount] = []
    if pool.spec.tls is not None:
        credentials.append(certificate_mount("tls", paths.TLS, pool.spec.tls.secret_ref.name))
    if output is not None and output.secret_ref is not None:
        credentials.append(
            secret_mount("output-credentials", paths.OUTPUT_CREDENTIALS, output.secret_ref.name, S3_KEYS)
        )
    credentials += _queue_mounts(pool, config)
    server = PodRole(
        container={
            "name": SERVER,
            "command": ["steno-server"],
            "args": ["--task", build_pool_task(pool, profile, config).to_json()],
            "ports": [
                {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
                {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
                {"name": "probes", "containerPort": PROBE_PORT, "protocol": "TCP"},
            ],
            "startupProbe": _probe("/livez", period=5, failures=START_SECONDS // 5),
            "livenessProbe": _probe("/livez", period=10, failures=6),
            "readinessProbe": _probe("/readyz", period=2, failures=2),
            "terminationMessagePolicy": "FallbackToLogsOnError",
        },
        mounts=credentials,
        restart_policy="Always",
        grace_seconds=GRACE_SECONDS,
        extra_labels=config.pod_labels,
    )
    manifest: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": labels.pool_child_name(metadata.name),
            "namespace": metadata.namespace,
            "labels": own,
            "ownerReferences": [labels.owner_reference(pool)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            # GPUs are taken one for one: a server goes before the one that replaces it comes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": labels.pool_selector(metadata.uid)},
            "template": pod_template(server, profile.spec, config.runtime_image, labels=own),
        },
    }
    return with_digest(manifest)


def with_digest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return `manifest` with its digest as an annotation, to compare it later without knowing defaults."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), labels.DIGEST: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the digest that `with_digest` noted; an empty string where there is none."""
    annotations: Mapping[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(labels.DIGEST, "")


def _drain_seconds(profile: RuntimeProfile) -> int:
    """Return what a drain may take; a profile may override the grace period. No hook of ours runs before SIGTERM."""
    grace = (profile.spec.pod_overrides or {}).get("terminationGracePeriodSeconds")
    # Of another type, it is the API server that refuses it, with words for people.
    return max(0, (grace if isinstance(grace, int) else GRACE_SECONDS) - LAST_WORDS_SECONDS)


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "probes", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
