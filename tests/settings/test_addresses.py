"""What is public, and every way to write an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from lmrun.errors import OutboundRefused
from lmrun.settings.addresses import Reach, parse_host, reach_of

REACHES: dict[str, Reach] = {
    "8.8.8.8": "public",
    "1.1.1.1": "public",
    "192.0.0.9": "public",
    "2606:4700::1111": "public",
    "::ffff:8.8.8.8": "public",
    "64:ff9b::8.8.8.8": "public",
    "2002:808:808::1": "public",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "198.18.0.1": "private",
    "192.0.2.1": "private",
    "203.0.113.9": "private",
    "::ffff:10.0.0.1": "private",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "2001:db8::1": "private",
    "3fff::1": "private",
    "0.0.0.0": "none",
    "0.1.2.3": "none",
    "169.254.169.254": "none",
    "169.254.170.2": "none",
    "224.0.0.1": "none",
    "239.255.255.250": "none",
    "240.0.0.1": "none",
    "255.255.255.255": "none",
    "::": "none",
    "::ffff:0.0.0.0": "none",
    "::ffff:169.254.169.254": "none",
    "::127.0.0.1": "none",
    "::10.0.0.1": "none",
    "::ffff:0:127.0.0.1": "none",
    "64:ff9b::127.0.0.1": "none",
    "64:ff9b::169.254.169.254": "none",
    "64:ff9b:1::10.0.0.1": "none",
    "64:ff9b:1::8.8.8.8": "none",
    "2002:7f00:1::1": "none",
    "2002:a00:1::1": "none",
    "2001:0:808:808:0:0:f5ff:fffe": "none",
    "2606:4700::5efe:a00:1": "none",
    "2606:4700::200:5efe:a00:1": "none",
    "fe80::1": "none",
    "ff02::1": "none",
    "5f00::1": "none",
    "4000::1": "none",
}


@pytest.mark.parametrize(("address", "reach"), REACHES.items())
def test_only_what_is_routed_worldwide_is_public(address: str, reach: Reach) -> None:
    assert reach_of(ip_address(address)) == reach


def test_nothing_that_python_calls_private_is_public() -> None:
    """Every 256k-th IPv4 address."""
    for number in range(0, 2**32, 262_139):
        address = IPv4Address(number)
        if reach_of(address) == "public":
            assert address.is_global and not address.is_multicast, address
        else:
            assert not address.is_global or address.is_multicast, address


SPELLINGS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.0.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0X7F.1": "127.0.0.1",
    "0x7f.0x0.0x0.0x1": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "0177.1": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0000177.0.0.01": "127.0.0.1",
    "0": "0.0.0.0",
    "0x": "0.0.0.0",
    "10.1": "10.0.0.1",
    "192.168.257": "192.168.1.1",
    "3232235777": "192.168.1.1",
    "0xa9fea9fe": "169.254.169.254",
    "169.254.43518": "169.254.169.254",
    "[::1]": "::1",
    "::1": "::1",
    "[0:0:0:0:0:0:0:1]": "::1",
    "[::FFFF:127.0.0.1]": "::ffff:7f00:1",
    "[::ffff:7f00:1]": "::ffff:7f00:1",
}


@pytest.mark.parametrize(("host", "address"), SPELLINGS.items())
def test_every_spelling_is_the_address_that_it_means(host: str, address: str) -> None:
    assert parse_host(host) == ip_address(address)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost",
        "localhost.",
        "1.2.3.4.example",
        "0x7f.example",
        "a1",
        "xn--bcher",
    ],
)
def test_names_are_names(host: str) -> None:
    assert parse_host(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "256.0.0.1",
        "1.2.3.4.5",
        "1.2.3.256",
        "08.0.0.1",
        "4294967296",
        "99999999999999999999",
        "0x100000000",
        "example.1",
        "1..1",
        ".1",
        "[::1%25lo]",
        "fe80::1%eth0",
        "[::1]x:1",
        ":::",
        "1:2",
    ],
)
def test_what_only_looks_like_an_address_is_refused(host: str) -> None:
    with pytest.raises(OutboundRefused):
        parse_host(host)


def test_what_the_system_reads_is_read_alike() -> None:
    """inet_aton is what resolvers use: whatever it takes must be judged as what it makes of it."""
    import random
    import socket

    random.seed(4)
    pieces = ["0", "1", "10", "127", "255", "256", "0x7f", "0x", "0177", "08", "65535", "16777216"]
    for _ in range(20_000):
        host = ".".join(random.choices(pieces, k=random.randint(1, 5)))
        try:
            theirs = IPv4Address(socket.inet_aton(host))
        except OSError:
            continue
        try:
            assert parse_host(host) == theirs, host
        except OutboundRefused:
            continue


def test_ipv6_is_never_read_as_a_name() -> None:
    assert parse_host("::ffff:127.0.0.1") == IPv6Address("::ffff:127.0.0.1")
