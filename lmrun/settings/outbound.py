"""What may be reached: hosts and addresses against what somebody declared. Pure; it resolves and
connects nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from lmrun.errors import OutboundRefused
from lmrun.settings.addresses import Address, parse_host, reach_of

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_BYTES = 2**20

_PORTS = range(1, 65536)
_ENTRY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """An entry of a list of hosts. `port` None: any."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, entry: str) -> AllowedHost:
        """`api.example.com`, `*.example.com`, `[::1]:8080`, `10.0.0.7`. Raises OutboundRefused."""
        bare_v6 = entry.count(":") > 1 and not entry.startswith("[")
        found = _ENTRY.fullmatch(f"[{entry}]" if bare_v6 else entry)
        host = "" if found is None else plain_host(found["host"])
        name = host.removeprefix("*.")
        port = int(found["port"]) if found and found["port"] else None
        if not (":" in name or _LABELS.fullmatch(name)) or (
            port is not None and port not in _PORTS
        ):
            raise OutboundRefused(
                f"{entry!r} is no host.",
                hint="Write a name (`api.example.com`), all below one (`*.example.com`) or an "
                "address, and `:8080` after it for that port alone.",
            )
        return cls(host, port)

    def matches(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return host == self.host


class Url(Protocol):
    """As HTTP clients have it; `raw_host` as it is sent."""

    @property
    def scheme(self) -> str: ...

    @property
    def raw_host(self) -> bytes: ...

    @property
    def port(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """What one client may reach, and how much of it.

    `hosts`: entries as AllowedHost reads them; None: any. `allow_loopback`: addresses of this
    machine. `allow_private`: others that are not public; link-local ones never. `allow_plain`: http
    to other machines; without it http is for loopback alone. `max_bytes`: longest body of an
    answer, after decompression; None: no bound. `timeout_s`: until an answer has begun, and until
    it is whole. A stream of events is bound by neither once it has begun, where the client says
    that it can deal with them.
    """

    hosts: tuple[str, ...] | None = None
    allow_private: bool = False
    allow_loopback: bool = False
    max_bytes: int | None = MAX_BYTES
    timeout_s: float = 30.0
    allow_plain: bool = False

    def __post_init__(self) -> None:
        for entry in self.hosts or ():
            AllowedHost.parse(entry)

    def check_url(self, url: Url) -> None:
        """Raises OutboundRefused for what is refused whatever its name leads to."""
        self.check(url.scheme, url.raw_host.decode("ascii"), url.port)

    def check(self, scheme: str, host: str, port: int | None) -> None:
        """The same. `port` None: the scheme's own."""
        if scheme not in DEFAULT_PORTS or not host:
            raise OutboundRefused("This URL is neither https nor http.")
        port = DEFAULT_PORTS[scheme] if port is None else port
        if port not in _PORTS:
            raise OutboundRefused(f"{host} has no port {port}.")
        name = plain_host(host)
        self._check_host(host, name, port)
        address = IPv4Address("127.0.0.1") if name == "localhost" else parse_host(name)
        if address is not None:
            self.check_address(address, host, is_encrypted=scheme == "https")

    def _check_host(self, host: str, name: str, port: int) -> None:
        if self.hosts is None:
            return
        if not any(AllowedHost.parse(entry).matches(name, port) for entry in self.hosts):
            raise OutboundRefused(
                f"{host}:{port} is none of the hosts that may be reached here: "
                f"{', '.join(self.hosts) or 'none at all'}.",
                hint="Add it to `hosts` if it should be.",
            )

    def check_address(self, address: Address, host: str, *, is_encrypted: bool) -> None:
        """Raises OutboundRefused unless a connection to `address`, to which `host` has led, is
        allowed."""
        reach = reach_of(address)
        is_allowed = {
            "public": True,
            "loopback": self.allow_loopback,
            "private": self.allow_private,
            "none": False,
        }
        where = host if str(address) == host else f"{host} ({address})"
        if not is_allowed[reach]:
            raise OutboundRefused(
                f"{where} is {_SHOWN[reach]}, which may not be reached from here.",
                hint=None if reach == "none" else "Only `private: true` in the profile allows it.",
            )
        if not (is_encrypted or self.allow_plain or reach == "loopback"):
            raise OutboundRefused(
                f"{where} is another machine, and http is not encrypted.", hint="Use https."
            )


_SHOWN = {
    "loopback": "this machine",
    "private": "an address of a private network",
    "none": "no address of a machine to speak to",
}


def plain_host(host: str) -> str:
    """`host` as it is compared: lower case, without brackets and final dot, an address in its
    usual form. Raises OutboundRefused for what only looks like an address."""
    text = host.lower().removesuffix(".")
    address = parse_host(text)
    return text if address is None else str(address)
