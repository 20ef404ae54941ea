"""Flags in queries of REST.

Separate because servers and the gateway have to read them alike, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from steno_api.server.errors import ApiError, ErrorCode


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a flag is `true`; absent, it is not.

    Args:
        query: the parameters of a request.
        name: of the flag.

    Raises:
        ApiError: `InvalidRequest`: it is neither `true` nor `false`.
    """
    value = query.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{name} is true or false.")
    return value == "true"
