"""Host and Origin headers as decisions on strings. It reads no request and no configuration."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_LOOPBACK = frozenset({ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")})


@dataclass(frozen=True, slots=True)
class Host:
    """A Host header: `name` in lower case without brackets, `port` None where it gives none."""

    name: str
    port: int | None

    @property
    def address(self) -> IPAddress | None:
        """The literal address it is, None for a name."""
        return _parse_address(self.name)


@lru_cache(maxsize=256)
def _parse_address(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_host(text: str) -> Host | None:
    """`LocalHost:1234` → its parts; None for anything that is no plain host and port.

    User information, zone ids, trailing dots, underscores and empty ports are not plain.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    name = (match["v6"] or match["name"]).lower()
    host = Host(name, int(match["port"]) if match["port"] else None)
    if match["v6"] and not isinstance(host.address, ipaddress.IPv6Address):
        return None
    return host


def is_allowed_host(host: Host, allowed: frozenset[Host], server: tuple[str, int] | None) -> bool:
    """Whether `host` names this server. `server`: the connection's own address and port.

    Literal addresses cannot be rebound by DNS: the socket's own and the loopback ones are always
    ours. Own names need the socket's port or none; configured names without a port take any,
    since ports are mapped in front of containers and proxies.
    """
    address = host.address
    if address is not None and address.is_unspecified:
        return False
    if host in allowed or Host(host.name, None) in allowed:
        return True
    if server is None or host.port not in (None, server[1]):
        return False
    if address is None:
        return host.name == "localhost"
    return address in _LOOPBACK or address == _parse_socket_address(server[0])


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page that this server itself delivered under `host` sends the request."""
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and authority.lower() == host.lower()


def _parse_socket_address(text: str) -> IPAddress | None:
    """A dual-stack socket shows IPv4 peers as `::ffff:127.0.0.1`."""
    address = _parse_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
