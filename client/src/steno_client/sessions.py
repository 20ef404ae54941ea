"""A StreamSession of a cluster: waiting until it can be used, and its token."""

from __future__ import annotations

import sys

from steno_client import follow, show
from steno_client.errors import EXIT_FAILED, EXIT_UNAVAILABLE, CommandError
from steno_client.kinds import SESSION, find
from steno_client.kube import Cluster
from steno_client.resource import Followed
from steno_client.session import Target, endpoint
from steno_client.terminal import LiveLine


def usable(cluster: Cluster, name: str, url: str | None) -> Target:
    """Waits until a StreamSession has an endpoint, and returns that with the session's token.

    Args:
        cluster: where it is.
        name: its name.
        url: where to reach its server instead, such as a forwarded port.

    Raises:
        CommandError: there is no such session, it ended, or its token cannot be read.
    """
    given = name if "/" in name else f"{SESSION.singular}/{name}"
    resource = find(cluster, given)
    if resource.definition is not SESSION:
        raise CommandError(f"{resource.shown} is no StreamSession", EXIT_UNAVAILABLE)
    with LiveLine(sys.stderr) as line:
        ready = follow.until(
            cluster,
            resource,
            _has_endpoint,
            lambda one: None if one.ended or _has_endpoint(one) else line.show(show.progress_line(one)),
            line.show,
        )
    if ready.ended:
        raise CommandError(
            f"{ready.shown} is over ({show.why(ready) or ready.phase}): create another StreamSession", EXIT_FAILED
        )
    websocket = next((one.url for one in ready.status.endpoints if one.url.startswith(("ws://", "wss://"))), None)
    secret = ready.status.token_secret_name
    if websocket is None or secret is None:
        raise CommandError(f"{ready.shown} is ready but publishes no WebSocket endpoint with a token", EXIT_UNAVAILABLE)
    token = cluster.secret(secret).get("token")
    if not token:
        raise CommandError(f"the Secret {secret} has no key token: the operator writes it anew soon", EXIT_UNAVAILABLE)
    return Target(endpoint(url, f"{ready.namespace}/{ready.name}") if url else websocket, token)


def _has_endpoint(session: Followed) -> bool:
    return session.is_true("EndpointReady") and bool(session.status.endpoints)
