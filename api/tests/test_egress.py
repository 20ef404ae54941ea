"""Which addresses may be connected to: those of names, in every notation, under the administrator's rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.egress import Egress, ForbiddenAddress, environment_proxy
from steno_api.worker.task import EgressRules

DENIED = [
    "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.170.2", "fe80::1",
    "fe80::1%eth0", "224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "2002:7f00:1::", "2001:0:a9fe:a9fe::1", "not an address", "",
]  # fmt: skip
PERMITTED = [
    "10.96.0.10", "172.16.3.4", "192.168.1.1", "100.64.1.1", "93.184.215.14", "2606:2800::1", "fd12:3456::1",
    "::ffff:10.0.0.1", "64:ff9b::808:808", "64:ff9b::a00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", DENIED)
def test_addresses_that_are_always_denied(address):
    assert not Egress(EgressRules()).permits(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_other_addresses_are_permitted_private_ones_too(address):
    assert Egress(EgressRules()).permits(address)


@pytest.mark.parametrize(
    ("allowed", "denied", "permitted", "refused"),
    [
        (["10.96.20.7"], ["10.0.0.0/8", "fd00::/8"], ["10.96.20.7", "8.8.8.8"], ["10.96.20.8", "fd12::1"]),
        (["10.96.20.7"], ["10.0.0.0/8"], ["64:ff9b::a60:1407", "::ffff:10.96.20.7"], ["64:ff9b::a60:1408"]),
        (["10.0.0.0/8"], ["10.96.0.0/12"], ["10.1.1.1"], ["10.96.0.1"]),
        (["192.168.0.0/16"], ["0.0.0.0/0", "::/0"], ["192.168.7.7"], ["8.8.8.8", "2606:2800::1", "192.167.0.1"]),
        (["10.0.0.0/8"], ["10.0.0.0/8"], [], ["10.1.1.1"]),
        (["0.0.0.0/0", "::/0"], [], ["10.1.1.1"], ["127.0.0.1", "169.254.169.254", "::1", "fe80::1"]),
        (["127.0.0.0/8"], [], ["127.0.0.1", "::ffff:127.0.0.1"], ["::1", "169.254.169.254"]),
        (["169.254.170.23/32"], [], ["169.254.170.23"], ["169.254.169.254"]),
    ],
)
def test_of_the_networks_that_hold_an_address_the_longest_prefix_decides(allowed, denied, permitted, refused):
    egress = Egress(EgressRules(allowed_networks=allowed, denied_networks=denied))
    assert [address for address in permitted if not egress.permits(address)] == []
    assert [address for address in refused if egress.permits(address)] == []


def test_a_rule_that_is_no_network_is_named():
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        Egress(EgressRules(denied_networks=["10.0.0.0/33"]))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_an_ipv4_address_is_judged_the_same_in_every_disguise(number):
    egress, plain = Egress(EgressRules()), ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    assert egress.permits(f"::ffff:{plain}") == egress.permits(plain) == egress.permits(f"64:ff9b::{plain}")


@pytest.mark.parametrize(
    ("no_proxy", "host", "expected"),
    [
        ("", "s3.example", "http://proxy.example:3128"),
        ("s3.example", "s3.example", None),
        (".svc", "s3.team-a.svc", None),
        ("10.0.0.0/8,x", "10.96.0.7", None),
        ("10.0.0.0/8", "11.0.0.1", "http://proxy.example:3128"),
    ],
)
def test_an_administrators_proxy_is_chosen_by_host(monkeypatch, no_proxy, host, expected):
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert environment_proxy("https", host) == expected


def test_nothing_but_an_address_is_ever_dialled():
    dialled: list[str] = []
    with pytest.raises(ForbiddenAddress):
        Egress(EgressRules()).connect("localhost", 80, 1.0, lambda address, _: dialled.append(address))
    loopback = EgressRules(allowed_networks=["127.0.0.0/8"])
    Egress(loopback).connect("127.0.0.1", 80, 1.0, lambda address, _: dialled.append(address))
    assert dialled == ["127.0.0.1"]
