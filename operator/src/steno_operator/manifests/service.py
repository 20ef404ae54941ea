"""The Service in front of a RuntimePool's servers, and the URLs that lead there."""

from __future__ import annotations

from typing import Any

from steno_api.v1alpha1.runtimepool import PoolEndpoints, RuntimePool
from steno_api.v1alpha1.streamsession import Endpoint, StreamSession
from steno_operator.manifests import labels
from steno_operator.manifests.deployment import GRPC_PORT, HTTP_PORT, server_tenant, with_digest


def build_service(pool: RuntimePool) -> dict[str, Any]:
    """Return the Service manifest, whole: to be applied under our field manager."""
    metadata, spec, tls = pool.metadata, pool.spec.service, pool.spec.tls is not None
    return with_digest(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": labels.pool_child_name(metadata.name),
                "namespace": metadata.namespace,
                "labels": labels.pool_labels(name=metadata.name, uid=metadata.uid, tenant=server_tenant(pool)),
                "annotations": dict(spec.annotations),
                "ownerReferences": [labels.owner_reference(pool)],
            },
            "spec": {
                "type": spec.type,
                "selector": labels.pool_selector(metadata.uid),
                "ports": [
                    _port("http", HTTP_PORT, spec.http_node_port, "kubernetes.io/wss" if tls else "kubernetes.io/ws"),
                    _port("grpc", GRPC_PORT, spec.grpc_node_port, "https" if tls else "kubernetes.io/h2c"),
                ],
            },
        }
    )


def websocket_url(session: StreamSession, pool: RuntimePool) -> str:
    """Return where a client of `session` that is inside the cluster connects, whatever the pool says to others."""
    metadata = session.metadata
    scheme = "ws" if pool.spec.tls is None else "wss"
    return f"{scheme}://{_host(pool)}:{HTTP_PORT}/stt/realtime?session={metadata.namespace}/{metadata.name}"


def endpoints_of(session: StreamSession, pool: RuntimePool) -> list[Endpoint]:
    """Return where a client of `session` connects: what the pool says, else the Service's name in the cluster."""
    host = _host(pool)
    given, tls = pool.spec.endpoints or PoolEndpoints(), pool.spec.tls is not None
    websocket = given.websocket_url or f"{'wss' if tls else 'ws'}://{host}:{HTTP_PORT}"
    encrypted, grpc, grpc_tls = websocket.startswith("wss:"), given.grpc_url, tls
    if grpc is None:
        grpc = f"{host}:{GRPC_PORT}"
    elif given.grpc_tls is not None:
        grpc_tls = given.grpc_tls
    elif given.websocket_url is not None:
        grpc_tls = encrypted
    name = f"{session.metadata.namespace}/{session.metadata.name}"
    return [
        Endpoint(protocol="WebSocket", url=f"{websocket}/stt/realtime?session={name}", tls=encrypted),
        Endpoint(protocol="GRPC", url=grpc, tls=grpc_tls),
    ]


def _host(pool: RuntimePool) -> str:
    return f"{labels.pool_child_name(pool.metadata.name)}.{pool.metadata.namespace}.svc"


def _port(name: str, number: int, node_port: int | None, protocol: str) -> dict[str, Any]:
    port: dict[str, Any] = {
        "name": name,
        "port": number,
        "targetPort": name,
        "protocol": "TCP",
        "appProtocol": protocol,
    }
    return port if node_port is None else {**port, "nodePort": node_port}
