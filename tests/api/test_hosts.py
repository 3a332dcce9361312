"""Which Host headers name this server."""

from __future__ import annotations

import pytest

from lmrun.api.http.hosts import Host, is_allowed_host, is_own_origin, parse_host

SERVER = ("127.0.0.1", 1234)


def is_allowed(text: str, *allowed: str, server: tuple[str, int] | None = SERVER) -> bool:
    host = parse_host(text)
    names = frozenset(parsed for name in allowed if (parsed := parse_host(name)))
    return host is not None and is_allowed_host(host, names, server)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:1234", "127.0.0.1", "localhost:1234", "LocalHost:1234", "[::1]:1234"]
)
def test_its_own_names_are_allowed(text: str) -> None:
    assert is_allowed(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
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
        "localhost:99999",
        "localhost:+1234",
        "localhost:1234:1234",
        "127.0.0.1:80",
        "127.1",
        "127.0.0.1.",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.2:1234",
        "0.0.0.0",
        "0.0.0.0:1234",
        "[::]",
        "[::]:1234",
        "::1",
        "::1:1234",
        "[::1",
        "[::1]1234",
        "[127.0.0.1]:1234",
        "[::1%25lo]:1234",
        "[::1]:1234@evil",
        "evil@localhost:1234",
        "localhost@evil",
        "localhost:1234@evil",
        "localhost/x",
        "localhost?y=",
        "x/health?y=",
        "localhost#",
        "localhost localhost",
        "localhost,evil.example",
        "localhost\tevil",
        "localhost\x00",
        "http://localhost:1234",
        "lo_calhost",
        "ⓛocalhost",
        "*",
        "null",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert not is_allowed(text)


@pytest.mark.parametrize("text", ["192.168.1.7:1234", "192.168.1.7"])
def test_the_address_that_the_connection_came_to_is_allowed(text: str) -> None:
    assert is_allowed(text, server=("192.168.1.7", 1234))
    assert not is_allowed(text)


def test_an_ipv6_address_is_compared_as_an_address() -> None:
    assert is_allowed("[FE80:0::1]:1234", server=("fe80::1%eth0", 1234))
    assert is_allowed("127.0.0.5:1234", server=("::ffff:127.0.0.5", 1234))


def test_a_configured_name_without_a_port_takes_any() -> None:
    assert is_allowed("models.lan:8080", "models.lan")
    assert is_allowed("Models.LAN", "models.lan")
    assert not is_allowed("sub.models.lan", "models.lan")


def test_a_configured_name_with_a_port_takes_that_one() -> None:
    assert is_allowed("models.lan:8080", "models.lan:8080")
    assert not is_allowed("models.lan:8081", "models.lan:8080")
    assert not is_allowed("models.lan", "models.lan:8080")


@pytest.mark.parametrize("text", ["0.0.0.0", "0.0.0.0:1234", "[::]:1234"])
def test_a_wildcard_address_is_refused_even_when_configured(text: str) -> None:
    assert not is_allowed(text, text)


def test_without_a_socket_address_only_configured_names_are_known() -> None:
    assert not is_allowed("localhost:1234", server=None)
    assert is_allowed("models.lan", "models.lan", server=None)


@pytest.mark.parametrize(
    ("text", "host"),
    [("a.b:7", Host("a.b", 7)), ("[::1]", Host("::1", None)), ("A", Host("a", None))],
)
def test_a_host_is_taken_apart(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://localhost:1234", True),
        ("https://LOCALHOST:1234", True),
        ("http://localhost:1235", False),
        ("http://localhost", False),
        ("http://localhost:1234/", False),
        ("http://localhost:1234@evil", False),
        ("file://localhost:1234", False),
        ("localhost:1234", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_a_page_from_the_very_host_is_our_own(origin: str, is_own: bool) -> None:
    assert is_own_origin(origin, "localhost:1234") is is_own
