"""Result keys: what a worker proves its results with, an HMAC key of one resource that only its own pods get.

Separate because the operator and the runtime have to say the same.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from steno_api.model import Model, ObjectRef

RESULT_KEY_PATH = "/v1/result-keys"
"""Path of the operator's endpoint that workers and servers POST `ResultKeyRequest` to; the answer is `ResultKeys`."""

MAX_RESULT_KEYS = 8
ResultKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hexadecimal digits."""


class ResultKeyRequest(Model):
    """Whose keys are wanted."""

    resource: ObjectRef
    """The job that the pod works on, or a job or session of its pool."""
    pool: ObjectRef | None = None
    """The RuntimePool, if the pod is a server."""


class ResultKeys(Model):
    """The keys of one resource: proofs are made with the first, and believed if they were made with any."""

    keys: Annotated[list[ResultKey], Field(max_length=MAX_RESULT_KEYS)]
    """Without any, nothing is proven."""


def prove(key: bytes, statement: Mapping[str, Any]) -> str:
    """Return the proof of a statement: an HMAC over its canonical JSON, in hexadecimal digits.

    Args:
        key: of the resource that it is about.
        statement: what JSON can say; its one field names the kind of statement.
    """
    canonical = json.dumps(statement, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, canonical.encode(), "sha256").hexdigest()


def is_proof(proof: object, keys: Iterable[bytes], statement: Mapping[str, Any]) -> bool:
    """Tell whether a proof of a statement was made with any of the keys.

    Args:
        proof: what was found.
        keys: of the resource.
        statement: see `prove`.
    """
    given = proof.encode(errors="replace") if isinstance(proof, str) else b""
    return any(hmac.compare_digest(given, prove(key, statement).encode()) for key in keys)
