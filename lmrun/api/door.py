"""Who may come in: the server's settings as one value, and the checks on a request's head.

Pure decisions on headers and the routed path; it reads no body and sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.api.errors import FramingRefused, HostRefused, UpgradeRefused
from lmrun.api.http.hosts import Host, is_allowed_host, is_own_origin, parse_host
from lmrun.errors import AddressRefused, Forbidden, InvalidParameter, Unauthorized
from lmrun.profile.schema import ServerConfig
from lmrun.runtime.turns import Priority, lower
from lmrun.settings.secret import Secret

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing here."""

PRIORITY_HEADER = "x-lmrun-priority"
PRIORITIES: dict[str, Priority] = {"high": "high", "normal": "normal", "low": "low"}
STEPS_HEADER = "x-lmrun-steps"

_SDK_TOKEN = re.compile(r"sk-lm-[A-Za-z0-9]{8}:[A-Za-z0-9]{20}")
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: who uses it and what it grants. `priority`: the first class that it may have."""

    name: str
    secret: Secret
    scopes: frozenset[str]
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class Door:
    """The HTTP port's rules. `origins`: exact, lower case. No `keys`: everybody may enter.
    `is_lenient`: unknown parameters are passed over."""

    hosts: frozenset[Host] = frozenset()
    origins: frozenset[str] = frozenset()
    keys: tuple[Key, ...] = ()
    body_limit_bytes: int = 32 * 2**20
    streams_per_key: int = 8
    request_time_s: float = 1800.0
    is_lenient: bool = False

    @classmethod
    def from_config(cls, config: ServerConfig) -> Door:
        """The door of a profile's `server` section. Raises AddressRefused for what is no host."""
        return cls(
            hosts=frozenset(_parse_allowed_host(name) for name in config.allowed_hosts),
            origins=frozenset(origin.lower() for origin in config.cors or ()),
            keys=tuple(
                Key(key.name, key.key, frozenset(key.scopes), key.priority)
                for key in config.api_keys
            ),
            body_limit_bytes=config.limits.body,
            streams_per_key=config.limits.streams_per_key,
            request_time_s=config.limits.request_time,
            is_lenient=config.compat.unknown_parameters == "warn",
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request decides whether it comes in. Header names are in lower case."""

    method: str
    headers: Mapping[str, Sequence[str]]
    server: tuple[str, int] | None
    is_websocket: bool = False

    def values(self, name: str) -> Sequence[str]:
        return self.headers.get(name, ())


def check_framing(head: Head) -> None:
    """Raises FramingRefused for a body with two ends: a proxy may have taken the other one."""
    if head.values("transfer-encoding") and head.values("content-length"):
        raise FramingRefused("Content-Length and Transfer-Encoding exclude each other.")


def check_host(door: Door, head: Head) -> str:
    """The Host header. Raises HostRefused unless it is there once and names this server."""
    values = head.values("host")
    host = parse_host(values[0]) if len(values) == 1 else None
    if host is None:
        raise HostRefused("The request needs exactly one Host header: a name or address, a port.")
    if not is_allowed_host(host, door.hosts, head.server):
        raise HostRefused(
            f"{values[0]!r} is not a name of this server.",
            hint="Names beyond localhost and its own address go into server.allowed_hosts.",
        )
    return values[0]


def check_origin(door: Door, head: Head, host: str) -> str | None:
    """The Origin if it is on the list, None if there is none or it is our own.

    Raises Forbidden for any other, and for a change that another site's page asks for.
    """
    origins = head.values("origin")
    if not origins:
        site = head.values("sec-fetch-site")
        if head.method not in READING and not _FOREIGN_SITES.isdisjoint(site):
            raise Forbidden("A page of another site may not do this.")
        return None
    origin = origins[0].lower()
    if len(origins) == 1 and origin in door.origins:
        return origin
    if len(origins) == 1 and is_own_origin(origin, host):
        return None
    raise Forbidden(
        f"Pages from {origins[0]!r} may not use this server.",
        hint="Exact origins go into server.cors.",
    )


def find_credentials(head: Head) -> frozenset[str]:
    """Every key that the head of a request carries, whatever carries it: a bearer token or
    `x-api-key`, of a WebSocket's handshake, too."""
    found = set(head.values("x-api-key"))
    for value in head.values("authorization"):
        kind, _, credential = value.strip().partition(" ")
        found.add(credential.strip() if kind.lower() == "bearer" else "")
    return frozenset(found)


def find_hello_credentials(hello: Mapping[str, Any]) -> frozenset[str]:
    """The key that the first frame of LM Studio's SDKs carries: they cut a token of the form
    `sk-lm-12345678:12345678901234567890` in two. None when it is no such token: these clients
    then make both parts up."""
    parts = hello.get("clientIdentifier"), hello.get("clientPasskey")
    token = f"sk-lm-{parts[0]}:{parts[1]}" if all(isinstance(part, str) for part in parts) else ""
    return frozenset({token} if _SDK_TOKEN.fullmatch(token) else ())


def check_key(door: Door, credentials: frozenset[str]) -> Key:
    """The key. Raises Unauthorized unless exactly one came, and a known one."""
    if not credentials:
        raise Unauthorized(
            "This server asks for an API key.",
            hint="Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
        )
    if len(credentials) > 1:
        raise Unauthorized("The request carries several different API keys; send one.")
    candidate = next(iter(credentials))
    # No early end: the time does not tell which key was the one.
    found = [key for key in door.keys if key.secret.matches(candidate)]
    if not found:
        raise Unauthorized("This server does not know the API key.")
    return found[0]


def choose_priority(key: Key | None, head: Head) -> Priority:
    """The request's class: what its header says, as far as its key lets it. Who needs no key may
    have any. Raises InvalidParameter for a header that names none."""
    given = head.values(PRIORITY_HEADER)
    if not given:
        return key.priority if key is not None else "normal"
    wished = PRIORITIES.get(given[0].strip().lower()) if len(given) == 1 else None
    if wished is None:
        raise InvalidParameter(
            f"{PRIORITY_HEADER}: it is {', '.join(PRIORITIES)}, and comes once.",
            param=PRIORITY_HEADER,
        )
    return wished if key is None else lower(wished, key.priority)


def choose_steps(head: Head) -> bool:
    """Whether the client of an agent wants to read what happens on the way to its answer.

    Raises InvalidParameter for a header that says neither `true` nor `false`.
    """
    given = head.values(STEPS_HEADER)
    word = given[0].strip().lower() if len(given) == 1 else ""
    if given and word not in ("true", "false"):
        raise InvalidParameter(
            f"{STEPS_HEADER}: it is true or false, and comes once.", param=STEPS_HEADER
        )
    return word == "true"


def check_upgrade(head: Head) -> None:
    """Raises UpgradeRefused for a WebSocket handshake: this port answers with HTTP only.

    Other offers, as HTTP/2's, may be left alone: their clients go on with HTTP/1.1.
    """
    wishes_upgrade = "upgrade" in _read_list(head.values("connection"))
    if wishes_upgrade and "websocket" in _read_list(head.values("upgrade")):
        raise UpgradeRefused(
            "This server does not speak WebSocket.",
            hint="Send a plain HTTP request, without `Upgrade`.",
        )


def _read_list(values: Sequence[str]) -> frozenset[str]:
    return frozenset(item.strip().lower() for value in values for item in value.split(","))


def _parse_allowed_host(name: str) -> Host:
    host = parse_host(name)
    if host is None:
        raise AddressRefused(
            f"server.allowed_hosts: {name!r} is no host.",
            hint="It is a name or an address, an IPv6 one in brackets, then perhaps `:PORT`.",
        )
    return host
