"""Session tokens for a gateway: it asks the operator for one of a session that it created, and reads no Secret.

Separate because the operator and the gateway have to say the same.
"""

from __future__ import annotations

from pydantic import AwareDatetime

from steno_api import GROUP
from steno_api.model import Model, ObjectRef

GATEWAY_LABEL = f"{GROUP}/gateway"
"""Of what a gateway creates: the name of its ServiceAccount."""

SESSION_TOKEN_PATH = "/v1/session-tokens"  # noqa: S105 - a path
"""Path of the operator's endpoint that a gateway POSTs `SessionTokenRequest` to; the answer is a `SessionToken`."""


class SessionTokenRequest(ObjectRef):
    """The StreamSession that a token is wanted for."""


class SessionToken(Model):
    """A token that opens connections for some minutes."""

    token: str
    expiration_time: AwareDatetime
    """When it expires; a connection that is open then stays open."""
    url: str
    """`ws(s)://…/stt/realtime?session=namespace/name`: the session's servers, inside the cluster."""
