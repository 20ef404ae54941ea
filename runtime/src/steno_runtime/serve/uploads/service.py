"""Upload service: authorizes uploads of any protocol, and finds their jobs in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from steno_api.gateway.api_keys import Scope
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.readiness import Readiness
from steno_runtime.serve.uploads.job_queue import Job, JobQueue

Name = Annotated[str, Field(max_length=512)]


def _split(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return list(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))


Languages = Annotated[tuple[Annotated[str, Field(max_length=35)], ...], Field(max_length=16), BeforeValidator(_split)]
"""Language tags: a list, or as in a form `ko,en`."""
T = TypeVar("T", bound=BaseModel)


class RequestFields(BaseModel):
    """The fields that every upload may have; unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant_id: Name | None = None
    user_id: Name | None = None


@dataclass(frozen=True)
class UploadService:
    """Authorizes uploads and finds their jobs."""

    authenticator: Authenticator
    readiness: Readiness
    access: SessionAccess
    queue: JobQueue

    def authenticate(self, token: str | None, scope: Scope | None = None) -> SessionClaims:
        """Return the claims of a client's token or API key; nothing of the request's body is needed for that.

        Args:
            token: the token or key.
            scope: what a key has to be for; None: for anything.

        Raises:
            ApiError: those of `Authenticator.authenticate` and `SessionAccess.check`.
        """
        claims = self.authenticator.authenticate(token, scope)
        self.access.check(claims, new_work=True)
        return claims

    def authorize(self, token: str | None, kind: Literal["stt", "ocr"]) -> SessionClaims:
        """Return the claims of a client's token, if a job of a kind would be accepted now.

        Raises:
            ApiError: those of `authenticate`, `NotReady`, `Draining`, `QueueFull` or `QuotaExceeded`.
        """
        claims = self.authenticate(token, Scope(kind))
        self.readiness.require_engine()
        self.queue.check_capacity(kind)
        return claims

    def submitter(self, claims: SessionClaims, fields: RequestFields) -> SessionClaims:
        """Return the claims that a job is submitted with: the token's, or, without tokens, what the fields say.

        The fields' tenant and user are free text, and become part of the document's `metadata`.

        Raises:
            ApiError: `TenantMismatch`.
        """
        given = {"tenant_id": fields.tenant_id, "user_id": fields.user_id}
        metadata = claims.metadata | {name: value for name, value in given.items() if value}
        checked = self.authenticator.check_claims(claims, tenant=fields.tenant_id)
        return checked.model_copy(update={"metadata": metadata})

    def job(self, claims: SessionClaims, job_id: str) -> Job:
        """Return a job of the client's tenant.

        Raises:
            ApiError: `JobNotFound`.
        """
        return self.queue.get(job_id, None if self.authenticator.allows_anonymous else claims.tenant)


def parse_fields(model: type[T], fields: dict[str, Any]) -> T:
    """Parse a request's fields; empty ones count as absent.

    Raises:
        ApiError: `InvalidRequest`, with the names of those that are wrong.
    """
    try:
        return TypeAdapter(model).validate_python({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) if item["loc"] else "body" for item in error.errors(include_input=False)})
        message = f"Fields that are missing or have an invalid value: {', '.join(names)}."
        raise ApiError(ErrorCode.INVALID_REQUEST, message) from None
