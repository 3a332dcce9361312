"""The door, for every route the house declares: hosts by origins, carriers by keys by scopes.

Handlers are exchanged for one that only counts, so what is tested is who gets as far as one. The
table is the house's own: a new route is here without anyone remembering it.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from starlette.types import ASGIApp, Message

from lmrun.api.app import put_behind_door
from lmrun.api.door import Door, Key
from lmrun.api.http.hosts import Host
from lmrun.api.routes import Call, Route, Scope
from lmrun.api.sse import JsonAnswer
from lmrun.reference import list_routes
from lmrun.settings.secret import Secret
from tests.support.http import Port, listening, read_reply, serving_app

PORT = 1234
ORIGIN = "https://app.example.com"
SCOPES: tuple[Scope, ...] = get_args(Scope)

GOOD_HOSTS = [
    "127.0.0.1:1234",
    "127.0.0.1",
    "localhost:1234",
    "localhost",
    "LocalHost:1234",
    "[::1]:1234",
    "[::1]",
    "models.lan",
    "models.lan:8080",
]
BAD_HOSTS = [
    None,
    "",
    "evil.example",
    "evil.example:1234",
    "127.0.0.1.nip.io",
    "127.0.0.1.nip.io:1234",
    "localhost.evil.com",
    "localhost.evil.com:1234",
    "evil-localhost",
    "LOCALHOST.",
    "localhost.:1234",
    "localhost:",
    "localhost:01234",
    "localhost:1235",
    "localhost:1234:1234",
    "127.0.0.1:80",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "127.0.0.2:1234",
    "0.0.0.0",
    "0.0.0.0:1234",
    "[::]:1234",
    "::1",
    "[::1]:1234@evil",
    "evil@localhost:1234",
    "localhost:1234@evil",
    "x/health?y=",
    "http://localhost:1234",
    "localhost,evil.example",
    "sub.models.lan",
]
ORIGINS = [
    None,
    "own",
    "OWN",
    ORIGIN,
    ORIGIN.upper(),
    "",
    "null",
    "x",
    "http://evil",
    "http://evil.example:1234",
    f"{ORIGIN}.evil",
    f"{ORIGIN}/",
    "http://app.example.com",
    "https://app.example.com:8443",
    "http://localhost:1235",
    "http://localhost.evil.com:1234",
    "http://localhost:1234@evil",
    "http://localhost:1234/",
    "file://localhost:1234",
    "chrome-extension://abcdefgh",
]
DOOR = Door(hosts=frozenset({Host("models.lan", None)}), origins=frozenset({ORIGIN}))


class Behind:
    """The house's table behind `door`; `calls` counts who got as far as a handler."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.calls = 0
        self.door = DOOR
        counting = [replace(route, handler=self._count) for route in routes]
        self.routes = routes
        self.app = put_behind_door(counting, lambda: self.door, lambda record: None)

    async def _count(self, call: Call) -> ASGIApp:
        self.calls += 1
        return JsonAnswer({})


TABLE = list_routes()
"""Read once, when the tests are collected: each route is a test of its own."""

each_route = pytest.mark.parametrize("route", TABLE, ids=lambda it: f"{it.method} {it.path}")
each_kind = pytest.mark.parametrize("kind", ["http", "websocket"])


@pytest.fixture
def behind() -> Behind:
    return Behind(TABLE)


def fill(path: str) -> str:
    return re.sub(r"\{.*?\}", "assistant", path)


Headers = list[tuple[bytes, bytes]]


async def knock(app: ASGIApp, kind: str, route: Route, headers: Headers) -> int:
    """The status of the answer to a request, or to a handshake."""
    statuses: list[int] = []
    incoming = iter(
        [
            {"type": "http.request", "body": b"{}"}
            if kind == "http"
            else {"type": "websocket.connect"}
        ]
    )

    async def receive() -> Message:
        message = next(incoming, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        if message["type"].endswith("response.start"):
            statuses.append(message["status"])

    scope: dict[str, Any] = {
        "type": kind,
        "method": route.method,
        "path": fill(route.path),
        "query_string": b"",
        "headers": [*headers, (b"content-type", b"application/json")],
        "server": ("127.0.0.1", PORT),
        "client": ("127.0.0.1", 50_000),
        "extensions": {"websocket.http.response": {}},
    }
    if kind == "websocket":
        del scope["method"]
    await app(scope, receive, send)
    (status,) = statuses
    return status


def to_headers(host: str | None, origin: str | None) -> Headers:
    headers: Headers = [] if host is None else [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", place(origin, host).encode()))
    return headers


def place(origin: str, host: str | None) -> str:
    """`own` is a page that was delivered under `host`."""
    return {"own": f"http://{host}", "OWN": f"HTTPS://{host}".lower()}.get(origin, origin)


def may_enter(host: str | None, origin: str | None) -> int:
    """The status of the refusal; 0 for who may."""
    if host not in GOOD_HOSTS:
        return 421
    is_own = origin is not None and place(origin, host).lower() in (
        f"http://{host}".lower(),
        f"https://{host}".lower(),
    )
    return 0 if origin in (None, ORIGIN, ORIGIN.upper()) or is_own else 403


@each_kind
@each_route
def test_only_own_hosts_and_listed_origins_reach_a_route(
    behind: Behind, route: Route, kind: str
) -> None:
    async def try_all() -> None:
        for host, origin in itertools.product([*GOOD_HOSTS, *BAD_HOSTS], ORIGINS):
            expected, before = may_enter(host, origin), behind.calls
            status = await knock(behind.app, kind, route, to_headers(host, origin))
            where = (host, origin, status)
            if expected:
                assert (status, behind.calls) == (expected, before), where
            elif kind == "http":
                assert behind.calls == before + 1, where
            else:
                assert status not in (401, 403, 421), where

    asyncio.run(try_all())


@pytest.fixture(scope="module")
def sockets() -> Iterator[tuple[Behind, Port]]:
    behind = Behind(TABLE)
    with listening(serving_app(behind.app)) as port:
        yield behind, port


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize("kind", ["", UPGRADE], ids=["http", "websocket"])
@each_route
def test_the_same_is_so_on_a_real_port(
    sockets: tuple[Behind, Port], route: Route, kind: str
) -> None:
    behind, port = sockets
    own = f"127.0.0.1:{port.number}"
    pairs = [(host, None) for host in BAD_HOSTS if host] + [(own, it) for it in ORIGINS if it]
    before, entered = behind.calls, 0
    for host, origin in pairs:
        lines = f"Host: {host}\r\n" + (f"Origin: {place(origin, host)}\r\n" if origin else "")
        head = f"{route.method} {fill(route.path)} HTTP/1.1\r\n{lines}{kind}"
        body = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        with port.connect() as sock:
            sock.sendall((head + body).encode())
            status = read_reply(sock).status
        expected = 0 if host == own and origin in ("own", "OWN", ORIGIN, ORIGIN.upper()) else 403
        if host != own:
            expected = 421
        if expected:
            assert status == expected, (host, origin)
        else:
            entered += 1
            assert status not in (401, 403, 421), (host, origin)
    assert behind.calls == before + (0 if kind else entered)


KEYS = {
    "_".join(scopes) or "nothing": frozenset(scopes)
    for count in range(len(SCOPES) + 1)
    for scopes in itertools.combinations(SCOPES, count)
}
"""Every set of scopes, by the key's name."""

LOCKED = Door(
    keys=tuple(
        Key(name, Secret(f"key of {name}".replace(" ", "-")), scopes)
        for name, scopes in KEYS.items()
    )
)
CARRIERS: dict[str, Any] = {
    "bearer": lambda key: [(b"authorization", f"Bearer {key}".encode())],
    "bearer in lower case": lambda key: [(b"authorization", f"bearer   {key} ".encode())],
    "x-api-key": lambda key: [(b"x-api-key", key.encode())],
    "both": lambda key: [
        (b"authorization", f"Bearer {key}".encode()),
        (b"x-api-key", key.encode()),
    ],
}
CANDIDATES = {
    **{f"key-of-{name}": scopes for name, scopes in KEYS.items()},
    "key-of-nobody": None,
    "": None,
}


def decide(route: Route, kind: str, granted: frozenset[str] | None) -> int:
    """The refusal's status, 0 for none, by nothing but the scopes."""
    if route.scope is None:
        return 0
    if granted is None:
        return 401
    is_good = kind == "websocket" or route.scope in granted or "admin" in granted
    return 0 if is_good else 403


@each_kind
@each_route
def test_every_carrier_of_a_key_decides_alike_and_by_its_scopes_alone(
    behind: Behind, route: Route, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many wrong keys are the point here, not the limit on them.
    monkeypatch.setattr("lmrun.api.http.throttle.BURST", 10**6)
    behind.door = LOCKED

    async def try_all() -> None:
        for (key, granted), carrier in itertools.product(CANDIDATES.items(), CARRIERS):
            expected, before = decide(route, kind, granted), behind.calls
            headers = [(b"host", b"localhost:1234"), *CARRIERS[carrier](key)]
            # What a client claims of itself counts for nothing.
            headers += [(b"x-lmrun-scopes", b"admin"), (b"x-scopes", b"admin")]
            status = await knock(behind.app, kind, route, headers)
            where = (key, carrier, status)
            if expected:
                assert (status, behind.calls) == (expected, before), where
            elif kind == "http":
                assert behind.calls == before + 1, where
            else:
                assert status not in (401, 403, 421), where
        status = await knock(behind.app, kind, route, [(b"host", b"localhost:1234")])
        assert (status == 401) == (route.scope is not None)

    asyncio.run(try_all())


def test_only_probes_may_come_without_a_key() -> None:
    """A list to extend with thought: whoever adds a path here opens it to everybody."""
    assert [route.path for route in TABLE if route.scope is None] == OPEN_PATHS


OPEN_PATHS = ["/health", "/lmstudio-greeting"]


def test_what_changes_or_shows_the_server_needs_more_than_inference() -> None:
    needed = {route.path: route.scope for route in TABLE}
    assert needed["/metrics"] == needed["/lmrun/v1/logs"] == "admin"
    assert needed["/lmrun/v1/status"] == needed["/lmrun/v1/events"] == "models"
    assert needed["/api/v1/models/load"] == needed["/api/v1/models/unload"] == "models"
    assert needed["/v1/chat/completions"] == "inference"
