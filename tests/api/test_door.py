"""Host and Origin, on every route of the table, over real sockets."""

from __future__ import annotations

import itertools
import re

import pytest

from lmrun.api.door import Door
from lmrun.api.routes import Route
from lmrun.errors import AddressRefused
from lmrun.profile.schema import ServerConfig
from tests.api.conftest import Served, all_routes
from tests.support.http import Reply

ORIGIN = "https://app.example.com"
ROUTES = [
    *((route.method, route.path) for route in all_routes()),
    ("GET", "/unknown"),
    ("POST", "/unknown"),
]
BAD_HOSTS = [
    "evil.example:{port}",
    "127.0.0.1.nip.io:{port}",
    "localhost.evil.com",
    "LOCALHOST.",
    "0.0.0.0:{port}",
    "[::1]:{port}@evil",
    "localhost:{port}@evil",
    "x/health?y=",
    "127.0.0.1:1",
]
BAD_ORIGINS = ["http://evil", "null", f"{ORIGIN}.evil", "http://127.0.0.1", f"{ORIGIN}/", "x"]


def fill(path: str) -> str:
    return re.sub(r"\{.*?\}", "assistant", path)


def cors_headers(reply: Reply) -> set[str]:
    return {name for name in reply.headers if name.startswith("access-control-")}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_host_reaches_no_route(served: Served, method: str, path: str) -> None:
    for pattern in BAD_HOSTS:
        host = pattern.format(port=served.port.number)
        reply = served.port.ask(method, fill(path), {}, host=host)
        assert (reply.status, reply.code) == (421, "host_refused"), host
    assert served.pool.reached == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_origin_reaches_no_route(served: Served, method: str, path: str) -> None:
    served.set_door(Door(origins=frozenset({ORIGIN})))
    for origin, content_type in itertools.product(BAD_ORIGINS, ["text/plain", "application/json"]):
        reply = served.port.ask(method, fill(path), {}, origin=origin, content_type=content_type)
        assert (reply.status, reply.code) == (403, "forbidden"), origin
        assert cors_headers(reply) == set()
    assert served.pool.reached == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_preflight_is_told_nothing(served: Served, method: str, path: str) -> None:
    for door in (Door(), Door(origins=frozenset({ORIGIN}))):
        served.set_door(door)
        reply = served.port.ask(
            "OPTIONS", fill(path), origin="http://evil", access_control_request_method=method
        )
        assert reply.status == 403
        assert cors_headers(reply) == set()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_own_page_and_no_page_come_in_without_cors_headers(
    served: Served, method: str, path: str
) -> None:
    host = f"localhost:{served.port.number}"
    for headers in ({}, {"origin": f"http://{host}"}):
        reply = served.port.ask(method, fill(path), {}, host=host, **headers)
        assert reply.status not in (401, 403, 421)
        assert cors_headers(reply) == set()


def test_a_listed_origin_is_answered_exactly(served: Served) -> None:
    served.set_door(Door(origins=frozenset({ORIGIN})))
    reply = served.port.ask("GET", "/v1/models", origin=ORIGIN)
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == ORIGIN
    assert reply.header("vary") == "Origin"


def test_errors_carry_the_cors_headers_of_a_listed_origin_too(served: Served) -> None:
    served.set_door(Door(origins=frozenset({ORIGIN})))
    reply = served.port.ask("POST", "/v1/chat/completions", {"model": 1}, origin=ORIGIN)
    assert reply.status == 400
    assert reply.header("access-control-allow-origin") == ORIGIN


def test_a_listed_preflight_is_answered_without_a_key(served: Served) -> None:
    config = ServerConfig(cors=(ORIGIN,))
    served.set_door(Door.from_config(config))
    reply = served.port.ask(
        "OPTIONS", "/v1/chat/completions", origin=ORIGIN, access_control_request_method="POST"
    )
    assert reply.status == 204
    assert reply.header("access-control-allow-origin") == ORIGIN
    assert reply.header("access-control-allow-methods") == "GET, POST, DELETE"
    assert "authorization" in (reply.header("access-control-allow-headers") or "")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_changes_nothing(served: Served, site: str) -> None:
    reply = served.port.ask("POST", "/v1/chat/completions", {}, sec_fetch_site=site)
    assert reply.status == 403
    assert served.port.ask("GET", "/v1/models", sec_fetch_site=site).status == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_page_may_change_things(served: Served, site: str) -> None:
    reply = served.port.ask("POST", "/v1/chat/completions", {}, sec_fetch_site=site)
    assert (reply.status, reply.code) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"],
)
@pytest.mark.parametrize(
    "route", [r for r in all_routes() if r.method == "POST"], ids=lambda r: r.path
)
def test_a_body_must_be_declared_as_json(served: Served, route: Route, content_type: str) -> None:
    reply = served.port.ask("POST", fill(route.path), {}, content_type=content_type)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "get", "FROBNICATE"])
def test_a_method_that_nothing_here_has_is_told_so_whatever_its_body(
    served: Served, method: str
) -> None:
    reply = served.port.ask(method, "/v1/models", None)
    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/JSON; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="Utf-8"',
        "application/json ; Charset = utf-8 ; x=y",
        'application/json; x="a;charset=latin-1"',
        "application/json;",
    ],
)
def test_json_may_be_declared_as_utf8(served: Served, content_type: str) -> None:
    reply = served.port.ask("POST", "/v1/completions", {}, content_type=content_type)
    assert reply.code == "invalid_parameter"


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("application/json; charset=latin-1", "latin-1"),
        ('application/json; charset="UTF-16"', "UTF-16"),
        ("application/json; charset=utf-8; CHARSET=ascii", "ascii"),
        ("application/json;charset=", ""),
    ],
)
def test_another_charset_is_refused_by_name(
    served: Served, content_type: str, charset: str
) -> None:
    reply = served.port.ask("POST", "/v1/completions", {}, content_type=content_type)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert f"charset {charset!r}" in reply.json["error"]["message"]


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, deflate", "GZIP", "x"])
def test_an_encoded_body_is_refused_by_its_coding(served: Served, coding: str) -> None:
    reply = served.port.ask("POST", "/v1/completions", {}, content_encoding=coding)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert f"Content-Encoding {coding.split()[-1]!r}" in reply.json["error"]["message"]


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_as_it_is_may_say_so(served: Served, coding: str) -> None:
    reply = served.port.ask("POST", "/v1/completions", {}, content_encoding=coding)
    assert reply.code == "invalid_parameter"


@pytest.mark.parametrize(
    "hosts",
    [[], ["127.0.0.1:{port}", "127.0.0.1:{port}"], ["127.0.0.1:{port}", "evil"]],
    ids=["missing", "twice", "two"],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_exactly_one_host_is_needed(served: Served, hosts: list[str], version: str) -> None:
    lines = [f"Host: {host.format(port=served.port.number)}\r\n" for host in hosts]
    reply = served.port.send(f"GET /health HTTP/{version}\r\n{''.join(lines)}\r\n".encode())
    assert reply.status in (400, 421)


def test_two_origins_are_refused(served: Served) -> None:
    served.set_door(Door(origins=frozenset({ORIGIN})))
    head = f"GET /v1/models HTTP/1.1\r\nHost: localhost:{served.port.number}\r\n"
    reply = served.port.send(f"{head}Origin: {ORIGIN}\r\nOrigin: {ORIGIN}\r\n\r\n".encode())
    assert reply.status == 403


def test_the_path_in_a_request_line_decides_not_its_host(served: Served) -> None:
    head = f"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost:{served.port.number}"
    assert served.port.send(f"{head}\r\n\r\n".encode()).status == 404


def test_configured_hosts_come_in_at_once(served: Served) -> None:
    assert served.port.ask("GET", "/health", host="models.lan").status == 421
    served.set_door(Door.from_config(ServerConfig(allowed_hosts=("models.lan",))))
    assert served.port.ask("GET", "/health", host="models.lan").status == 200


def test_an_allowed_host_that_is_none_is_an_error() -> None:
    with pytest.raises(AddressRefused, match="a:b:c"):
        Door.from_config(ServerConfig(allowed_hosts=("a:b:c",)))
