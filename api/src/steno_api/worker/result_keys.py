"""Result keys: what a worker proves its results with, an HMAC key of one resource that only its own pods get.

Separate because the operator and the runtime have to say the same.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steno_api.model import Model, ObjectRef

RESULT_KEY_PATH = "/v1/result-keys"
"""Path of the operator's endpoint that workers and servers POST `ResultKeyRequest` to; the answer is `ResultKeys`."""

MAX_RESULT_KEYS = 8


class ResultKeyRequest(Model):
    """Whose keys are wanted."""

    resource: ObjectRef
    """The job that the pod works on, or a job or session of its pool."""
    pool: ObjectRef | None = None
    """The RuntimePool, if the pod is a server."""


class ResultKeys(Model):
    """The keys of one resource: proofs are made with the first, and believed if they were made with any."""

    keys: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(max_length=MAX_RESULT_KEYS)]
    """32 bytes each, in hexadecimal digits. Without any, nothing is proven."""
