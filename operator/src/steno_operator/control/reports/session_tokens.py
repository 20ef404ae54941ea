"""Session tokens for gateways: like a TokenRequest, a POST that is answered with a signed token.

A gateway gets those of the sessions that it created itself, which have its label: the name of its ServiceAccount. It
could not read them otherwise, since it may read no Secret of its clients' namespaces.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic

from steno_api.gateway.session_tokens import SessionToken, SessionTokenRequest
from steno_api.v1alpha1.streamsession import StreamSession
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import BY_KEY, SESSION_KIND
from steno_operator.control.cache.snapshots.session import observe_session
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.manifests.service import websocket_url
from steno_operator.manifests.session_token import build_claims

log = logging.getLogger(__name__)

LIFETIME = timedelta(minutes=5)
"""Of a token: it is used at once."""


class _RefusedError(Exception):
    """There is no token; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SessionTokens:
    """Issues tokens to the gateways that are configured."""

    def __init__(self, accounts: Collection[str]) -> None:
        """Take the gateways' ServiceAccounts.

        Args:
            accounts: `<namespace>/<name>` of each.
        """
        self._accounts = frozenset(accounts)

    def take(
        self, state: ClusterState, caller: PodIdentity, request: SessionTokenRequest, now: datetime | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Answer a gateway; return the HTTP status and the body.

        Args:
            state: what is observed.
            caller: the pod whose token came with the request.
            request: which session.
            now: the present; None: by the clock.
        """
        try:
            return 200, self._issue(state, caller, request, now or datetime.now(UTC)).to_wire()
        except _RefusedError as refusal:
            return refusal.code, {"message": str(refusal)}

    def _issue(
        self, state: ClusterState, caller: PodIdentity, request: SessionTokenRequest, now: datetime
    ) -> SessionToken:
        if f"{caller.namespace}/{caller.account}" not in self._accounts:
            raise _RefusedError(403, "the token is not that of a gateway of this operator")
        key = Key(SESSION_KIND, request.namespace, request.name)
        session = _session_of(state, key, caller.account, request.uid)
        observed = observe_session(state, key, session)
        # Endpoints are there while it has its Tenant's admission and a place: a token must not go around these.
        if not session.status.endpoints or observed.pool is None:
            raise _RefusedError(409, "the session is not ready")
        if state.token_keys is None:
            raise _RefusedError(503, "the operator has no key to sign with now")
        issued = now.replace(microsecond=0)
        tenant = observed.admission.billed_tenant(session.spec.tenant_name, request.namespace)
        token = state.token_keys.active.sign(build_claims(session, tenant, issued, issued + LIFETIME))
        log.info("issued a token to gateway %s", caller.account, extra=key.log())
        url = websocket_url(session, observed.pool)
        return SessionToken(token=token, expiration_time=issued + LIFETIME, url=url)


def _session_of(state: ClusterState, key: Key, gateway: str, uid: str) -> StreamSession:
    """Return a session that this gateway created and that is open."""
    found = next(iter(state.resources.by_index(BY_KEY, key)), None)
    if found is None or found.uid != uid or found.value.gateway != gateway:
        raise _RefusedError(404, "no such session of this gateway")
    try:
        session = StreamSession.from_wire(found.value.raw)
    except pydantic.ValidationError:
        raise _RefusedError(409, "the session cannot be read") from None
    if session.metadata.deletion_timestamp is not None or session.status.completion_time is not None:
        raise _RefusedError(409, "the session has ended")
    return session
