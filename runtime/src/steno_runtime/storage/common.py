"""Helpers of all storage: retries with backoff, URIs without secrets, and addresses that are refused."""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from steno_runtime.errors import Check

_PAUSE_STEP_SECONDS = 0.1

_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "fd00:ec2::254",  # AWS, IPv6
        "fd00:ec2::23",  # EKS pod identity, IPv6
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
    )
)


class Unavailable(Exception):  # noqa: N818  (a state of the server, not a defect)
    """The server did not answer as it should, but may when it is asked again; the text says what happened."""


class ForbiddenAddress(Exception):  # noqa: N818
    """The host is an address of the node's metadata services, which a user's URI must never reach."""


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with jitter.

    Attributes:
        attempts: tries in a row without any progress before giving up.
        first_pause: seconds before the second try; doubled (and jittered) for each further one.
        max_pause: seconds that no pause exceeds.
    """

    attempts: int = 5
    first_pause: float = 0.5
    max_pause: float = 10.0

    def pause(self, failures: int, check: Check) -> None:
        """Wait after the given number of failures in a row; `check` may raise meanwhile."""
        full = min(self.max_pause, self.first_pause * 2 ** (failures - 1))
        end = time.monotonic() + full * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load; not a secret)
        while (left := end - time.monotonic()) > 0:
            check()
            time.sleep(min(left, _PAUSE_STEP_SECONDS))


def redact(uri: str) -> str:
    """Return `uri` without user, password, query and fragment, which may be credentials."""
    if not uri.lower().startswith(("http://", "https://")):
        return uri
    try:
        parts = urlsplit(uri)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    except ValueError:
        return uri.partition("?")[0].rpartition("@")[2]


def refuse_metadata_address(host: str) -> None:
    """Refuse a host that is, or resolves to, a link-local address or a cloud's metadata service.

    A name that does not resolve passes: connecting to it fails anyway, or a proxy resolves it.

    Raises:
        ForbiddenAddress: it is one.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    for *_, address in found:
        if is_metadata_address(str(address[0])):
            raise ForbiddenAddress(host)


def is_metadata_address(address: str) -> bool:
    """Return whether a numeric address is link-local (169.254.0.0/16, fe80::/10) or a known metadata service."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_link_local or parsed in _METADATA_ADDRESSES
