"""What an address is: public, this machine, this network, or none to connect to. Pure: it knows
neither names nor policies."""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
)
from typing import Literal

from lmrun.errors import OutboundRefused

Address = IPv4Address | IPv6Address

Reach = Literal["public", "loopback", "private", "none"]
"""`private`: another machine that only some can reach; `none`: nothing that anybody should be
connected to, by whatever policy: `0.0.0.0` (which is this machine, in disguise), link-local (where
clouds keep their credentials), multicast, reserved, and tunnels to what is not public."""

_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_OCTAL = re.compile(r"0[0-7]+")

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is routed today; younger Pythons know more exceptions than older ones."""
_NOT_GLOBAL = (IPv6Network("3fff::/20"), IPv6Network("2001:db8::/32"))
_EMBEDDED_AT_END = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated
    IPv6Network("64:ff9b::/96"),  # NAT64
    IPv6Network("64:ff9b:1::/48"),  # NAT64 within a network
)
_ISATAP = (0x00005EFE, 0x02005EFE)


def reach_of(address: Address) -> Reach:
    """What is at the other end of a connection to `address`."""
    if isinstance(address, IPv4Address):
        return _reach_of_v4(address)
    if address.ipv4_mapped is not None:
        return _reach_of_v4(address.ipv4_mapped)
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        return "none"
    embedded = _embedded(address)
    if any(_reach_of_v4(it) != "public" for it in embedded):
        return "none"
    if address in _EMBEDDED_AT_END[2]:
        return "public"
    if embedded and not address.is_global:
        return "none"
    if address in _GLOBAL_UNICAST:
        is_public = address.is_global and not any(address in it for it in _NOT_GLOBAL)
        return "public" if is_public else "private"
    return "private" if address.is_private or address.is_site_local else "none"


def _reach_of_v4(address: IPv4Address) -> Reach:
    if address.is_loopback:
        return "loopback"
    if address in _THIS_NETWORK or address.is_multicast or address.is_link_local:
        return "none"
    if address.is_reserved:
        return "none"
    return "public" if address.is_global else "private"


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a gateway may make of this one."""
    found = []
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    bits = int(address)
    is_at_end = any(address in network for network in _EMBEDDED_AT_END)
    if is_at_end or (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(IPv4Address(bits & 0xFFFFFFFF))
    return found


def parse_host(host: str) -> Address | None:
    """The address that `host`, as it stands in a URL, means by itself; None: it is a name.

    Reads what resolvers read: decimal, octal and hexadecimal numbers, fewer than four of them, a
    trailing dot, IPv6 with or without brackets. Raises OutboundRefused for what ends in a number
    and yet is no address, and for IPv6 with a zone: programs disagree about both.
    """
    text = host.lower()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        return _parse_v6(text, host)
    parts = text.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    numbers = [_parse_number(part) for part in parts]
    if len(parts) > 4 or None in numbers:
        raise _no_address(host)
    *front, last = [number for number in numbers if number is not None]
    if any(number > 255 for number in front) or last >= 256 ** (4 - len(front)):
        raise _no_address(host)
    value = last
    for place, number in enumerate(front):
        value += number << (8 * (3 - place))
    return IPv4Address(value)


def _parse_v6(text: str, host: str) -> IPv6Address:
    if "%" in text:
        raise OutboundRefused(
            f"The host {host!r} is an IPv6 address with a zone.",
            hint="Leave out what follows the `%`.",
        )
    try:
        return IPv6Address(text)
    except (AddressValueError, NetmaskValueError):
        raise _no_address(host) from None


def _parse_number(text: str) -> int | None:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16) if _NUMBER.fullmatch(text) else None
    if _DECIMAL.fullmatch(text):
        return int(text) if len(text) <= 10 else None
    return int(text, 8) if _OCTAL.fullmatch(text) and len(text) <= 64 else None


def _no_address(host: str) -> OutboundRefused:
    return OutboundRefused(
        f"The host {host!r} looks like an IP address, but is none.",
        hint="Write it as `192.0.2.1` or `[2001:db8::1]`.",
    )
