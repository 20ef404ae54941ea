"""S3 vocabulary: the keys of credentials, and error codes read from obstore's errors.

Shared by the runtime's storage and the client's downloads, which may not import each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_REGION = "us-east-1"

CREDENTIAL_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of a Secret, a profile or the environment, both of which are needed."""

FORBIDDEN_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "XAdminUserNotFound",
    }
)
"""Error codes of credentials that are wrong or lack a permission."""

WRONG_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)
"""Error codes of a bucket in another region."""


@dataclass(frozen=True)
class S3Error:
    """The store's answer, as an error of obstore quotes it.

    Attributes:
        code: S3's error code; empty if there was none.
        status: HTTP status; 0 if the store did not answer.
        phrase: the status with its words, such as `403 Forbidden`; empty if the store did not answer.
    """

    code: str
    status: int
    phrase: str

    @property
    def is_forbidden(self) -> bool:
        """Whether the credentials are wrong or lack a permission."""
        return self.code in FORBIDDEN_CODES or self.status in (401, 403)

    @property
    def is_wrong_region(self) -> bool:
        """Whether the bucket is in another region."""
        return self.code in WRONG_REGION_CODES

    @property
    def is_conflict(self) -> bool:
        """Whether another request for the same place got in the way, as in `ConditionalRequestConflict`."""
        return self.status == 409


def parse_error(error: Exception) -> S3Error:
    """Read the store's answer from the text of an obstore error; its type does not distinguish a bucket from a key."""
    text = str(error).partition("Debug source")[0]
    code = re.search(r"<Code>([A-Za-z0-9]{1,64})</Code>", text)
    status = re.search(r"status code: (\d{3}[ \w-]*)", text)
    phrase = status[1].strip() if status else ""
    return S3Error(code=code[1] if code else "", status=int(phrase[:3]) if phrase else 0, phrase=phrase)
