"""What a session needs besides its pool: the claims and the Secret of its token, and a pool created on demand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from steno_api import API_VERSION
from steno_api.server.claims import SessionClaims, token_audience
from steno_api.v1alpha1.streamsession import StreamSession
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat
from steno_operator.manifests import labels

OUTPUT_FIELDS = ("secretRef", "endpointURL", "region")
"""Fields of a session's output that must be its pool's."""
WHERE_TO = ("endpointURL", "secretRef")
"""Those that decide to whom transcripts go, and in whose name."""
TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's key


def token_secret_name(session: StreamSession) -> str:
    """Return the name of the Secret with a session's token: no other session ever has the same."""
    return f"{session.metadata.name}-token-{session.metadata.uid[:8]}"


def build_claims(session: StreamSession, tenant: str, issued: datetime, expires: datetime) -> SessionClaims:
    """Return the claims of a session's token: all that a server needs to know of the session.

    Args:
        session: the session.
        tenant: who pays.
        issued: from when the token is valid.
        expires: until when it is.
    """
    metadata, spec = session.metadata, session.spec
    namespace = metadata.namespace or "default"
    output = spec.output
    directory = None if output is None else f"{output.uri.rstrip('/')}/{namespace}/{metadata.name}/{metadata.uid}"
    formats = [TranscriptFormat.JSON] if output is None else output.formats
    return SessionClaims(
        aud=token_audience(namespace, spec.pool_ref.name),
        sub=f"{namespace}/{metadata.name}",
        iat=int(issued.timestamp()),
        exp=int(expires.timestamp()),
        uid=metadata.uid,
        tenant=tenant,
        meetingID=spec.meeting_id or metadata.name,
        language=spec.language,
        languages=spec.languages,
        interim_results=spec.interim_results,
        endpointing_millis=spec.endpointing_millis,
        max_duration_seconds=spec.max_duration_seconds,
        idle_timeout_seconds=spec.idle_timeout_seconds,
        outputURI=directory,
        metadata=spec.metadata,
        formats=list(formats),
    )


def build_token_secret(session: StreamSession) -> dict[str, Any]:
    """Return the manifest of the token's Secret, without the token: `with_token` adds it."""
    metadata = session.metadata
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": token_secret_name(session),
            "namespace": metadata.namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.KIND: session.kind},
            "ownerReferences": [labels.owner_reference(session)],
        },
        "type": "Opaque",
    }


def with_token(secret: dict[str, Any], token: str) -> dict[str, Any]:
    """Return the manifest with the token in it."""
    return {**secret, "data": {TOKEN_KEY: base64.b64encode(token.encode()).decode()}}


def build_default_pool(session: StreamSession, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pool that is created for the first session that names it; it takes that session's output.

    For a session without one the output uses the pods' own identity: the pool serves later sessions too, and those
    that publish could never use a pool without `output`.

    Args:
        session: the session.
        spec: what the operator's settings say of the pool.
    """
    given = {} if session.spec.output is None else session.spec.output.to_wire()
    output = {key: given[key] for key in OUTPUT_FIELDS if key in given}
    return {
        "apiVersion": API_VERSION,
        "kind": "RuntimePool",
        "metadata": {
            "name": session.spec.pool_ref.name,
            "namespace": session.metadata.namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
        },
        "spec": {**spec, "output": output},
    }
