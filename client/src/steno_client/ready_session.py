"""Session readiness: wait until a StreamSession of a cluster has an endpoint, and read its token.

A module of its own, because `steno stream --url` must not load the Kubernetes client.
"""

from __future__ import annotations

from collections.abc import Callable

from steno_client import formatting
from steno_client.errors import EXIT_FAILED, EXIT_UNAVAILABLE, CommandError
from steno_client.kube import Cluster
from steno_client.lifecycle import wait_until
from steno_client.lookup import find_resource
from steno_client.resource import STREAM_SESSION, ResourceView
from steno_client.target import ServerOverride, Target, complete_url, forwarded_server_name


def wait_until_ready(
    cluster: Cluster,
    name: str,
    override: ServerOverride,
    on_change: Callable[[ResourceView], None],
    on_retry: Callable[[str], None],
) -> Target:
    """Wait until a StreamSession has an endpoint, and return the endpoint with the session's token.

    Args:
        cluster: where the session is.
        name: its name.
        override: what the command line says of the server.
        on_change: called with each state in which the session is not ready yet.
        on_retry: called with an explanation before an apiserver that does not answer is tried again.

    Raises:
        CommandError: there is no such session, it has ended, or its token cannot be read.
    """
    given = name if "/" in name else f"{STREAM_SESSION.singular}/{name}"
    resource = find_resource(cluster, given)
    if resource.definition is not STREAM_SESSION:
        raise CommandError(f"{resource.display_name} is not a StreamSession", EXIT_UNAVAILABLE)
    ready = wait_until(cluster, resource, _has_endpoint, on_change, on_retry)
    if ready.finished:
        reason = formatting.explain_state(ready) or ready.phase
        raise CommandError(f"{ready.display_name} has ended ({reason}): create another StreamSession", EXIT_FAILED)
    websocket = next((one.url for one in ready.status.endpoints if one.url.startswith(("ws://", "wss://"))), None)
    secret = ready.status.token_secret_name
    if websocket is None or secret is None:
        raise CommandError(
            f"{ready.display_name} is ready but does not publish a WebSocket endpoint with a token", EXIT_UNAVAILABLE
        )
    token = cluster.read_secret(secret).get("token")
    if not token:
        raise CommandError(
            f"the Secret {secret} has no key `token`: the operator writes it again shortly, so try again",
            EXIT_UNAVAILABLE,
        )
    if override.url is None:
        return Target(websocket, token, override.ca_file)
    url = complete_url(override.url, f"{ready.namespace}/{ready.name}")
    return Target(url, token, override.ca_file, forwarded_server_name(url, websocket))


def _has_endpoint(session: ResourceView) -> bool:
    return session.is_true("EndpointReady") and bool(session.status.endpoints)
