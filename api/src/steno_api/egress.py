"""Egress filter: the address that a connection goes to decides, not the name, whose answer may change.

A name is resolved once, and of its addresses only permitted ones are connected to. Of the networks that hold an
address, the one with the longest prefix decides, as in a routing table.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from steno_api.worker.task import EgressRules

log = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Connection = TypeVar("Connection")

DENIED = "link-local, loopback, or on a network that is denied"
"""What messages call an address that may not be connected to."""
MAX_ADDRESSES = 4
"""Of a name, so many permitted addresses are tried."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_DENIED = (
    "0.0.0.0/8",  # unspecified: Linux connects to itself
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, with nearly every cloud's metadata service
    "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata service
    "100.100.100.200/32",  # metadata of Alibaba Cloud
    "168.63.129.16/32",  # Azure's agent
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
    "::/96",  # unspecified, loopback, IPv4-compatible
    "64:ff9b:1::/48",  # NAT64 of local use: which IPv4 address is meant depends on the network
    "2001::/32",  # Teredo
    "2002::/16",  # 6to4
    "fd00:ec2::/32",  # metadata, pod identity and resolver of AWS
    "fd20:ce::254/128",  # metadata of Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # metadata of Oracle Cloud
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
)
_BUILT_IN, _ALLOWED, _CONFIGURED = range(3)
"""Rank of networks with the same prefix."""


class ForbiddenAddress(Exception):  # noqa: N818  (what the host is, not a defect)
    """The host has no address that may be connected to; the text names the host."""


class Egress:
    """Decides which addresses may be connected to."""

    def __init__(self, rules: EgressRules) -> None:
        """Parse the rules.

        Raises:
            ValueError: one of them is not a network; the text names it.
        """
        self._networks = [
            (ipaddress.ip_network(text, strict=False), rank)
            for rank, texts in (
                (_BUILT_IN, _DENIED),
                (_ALLOWED, rules.allowed_networks),
                (_CONFIGURED, rules.denied_networks),
            )
            for text in texts
        ]

    def permits(self, address: str) -> bool:
        """Return whether a numeric address may be connected to.

        An IPv4 address within an IPv6 one, mapped or translated (NAT64), must be permitted, too.
        """
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return all(self._permits(one) for one in _meant_by(parsed))

    def _permits(self, address: Address) -> bool:
        holding = [(network.prefixlen, rank) for network, rank in self._networks if address in network]
        return not holding or max(holding)[1] == _ALLOWED

    def resolve(self, host: str, port: int | None) -> list[str]:
        """Return the addresses of a host that may be connected to, at least one.

        Raises:
            ForbiddenAddress: it has none.
            OSError: it does not resolve.
            UnicodeError: it is not a host name.
        """
        found = _addresses_of(host, port)
        if not found:
            raise OSError("the name has no address")
        permitted = [address for address in found if self.permits(address)]
        if not permitted:
            log.warning("an address is refused", extra={"host": host, "addresses": ", ".join(found[:MAX_ADDRESSES])})
            raise ForbiddenAddress(host)
        return permitted[:MAX_ADDRESSES]

    def connect(self, host: str, port: int, timeout: float, dial: Callable[[str, float], Connection]) -> Connection:
        """Connect to the first address of a host that is permitted and answers.

        Args:
            host: a name or numeric address, which is resolved once.
            port: of the host.
            timeout: seconds for all addresses together.
            dial: connects to a numeric address within the given seconds.

        Raises:
            ForbiddenAddress: none of the addresses is permitted; nothing was sent to any.
            OSError: the name does not resolve, or what `dial` raised for the last address.
            UnicodeError: it is not a host name.
        """
        addresses = self.resolve(host, port)
        end = time.monotonic() + timeout
        while True:
            address = addresses.pop(0)
            try:
                return dial(address, max(0.1, (end - time.monotonic()) / (len(addresses) + 1)))
            except Exception:  # whatever the caller's library raises
                if not addresses:
                    raise

    def check_proxied(self, host: str) -> None:
        """Refuse a host, one of whose addresses is denied, before a proxy is asked for it.

        A name that does not resolve here passes: the proxy resolves it, and decides.

        Raises:
            ForbiddenAddress: it is denied.
        """
        try:
            found = _addresses_of(host, None)
        except (OSError, UnicodeError):
            return
        if not all(self.permits(address) for address in found):
            raise ForbiddenAddress(host)


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` choose for a host."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host) or _within(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def host_of(url: str) -> str:
    """Return the host of a URL, without brackets; empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _addresses_of(host: str, port: int | None) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _within(host: str, networks: str) -> bool:
    """Return whether a numeric host is in one of the networks of `NO_PROXY`, which the standard library ignores."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for text in networks.split(","):
        try:
            if address in ipaddress.ip_network(text.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def _meant_by(address: Address) -> list[Address]:
    """Return the addresses whose hosts a connection may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:  # the kernel connects to it over IPv4
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [address, ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]
