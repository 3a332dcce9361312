"""Every answer says which request it was; a client may name its own."""

from __future__ import annotations

import re

import pytest

from lmrun.api.door import Door, Key
from lmrun.settings.secret import Secret
from tests.api.conftest import Served

OWN = re.compile(r"req_[0-9a-f]{16}")
LOCKED = Door(keys=(Key("ci", Secret("k" * 40), frozenset({"inference"})),))


@pytest.mark.parametrize("name", ["r-1", "req_0123", "A.b:c_d-9", "x" * 128])
def test_a_good_id_comes_back(served: Served, name: str) -> None:
    assert served.port.ask("GET", "/health", x_request_id=name).header("x-request-id") == name
    refused = served.port.ask("GET", "/nowhere", x_request_id=name)
    assert (refused.status, refused.header("x-request-id")) == (404, name)


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "ü", 'a"b', "a;b", "{{7*7}}", "a/b"])
def test_a_doubtful_id_is_replaced(served: Served, name: str) -> None:
    found = served.port.ask("GET", "/health", x_request_id=name).header("x-request-id")
    assert found is not None and OWN.fullmatch(found)


def test_two_ids_are_none(served: Served) -> None:
    head = f"GET /health HTTP/1.1\r\nHost: localhost:{served.port.number}\r\n"
    reply = served.port.send(f"{head}X-Request-Id: a\r\nX-Request-Id: b\r\n\r\n".encode())
    assert OWN.fullmatch(reply.header("x-request-id") or "")


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/v1/models", None, 401),
        ("GET", "/v1/models", "evil.example", 421),
        ("POST", "/health", None, 405),
        ("GET", "/health?x=1", None, 400),
        ("GET", "/health", None, 200),
    ],
)
def test_every_kind_of_answer_has_one(
    served: Served, method: str, path: str, host: str | None, status: int
) -> None:
    served.set_door(LOCKED)
    reply = served.port.ask(method, path, host=host)
    assert reply.status == status
    assert OWN.fullmatch(reply.header("x-request-id") or "")


def test_what_is_no_http_has_one_too(served: Served) -> None:
    reply = served.port.send(b"GET\r\n\r\n")
    assert OWN.fullmatch(reply.header("x-request-id") or "")


def test_no_two_requests_are_called_alike(served: Served) -> None:
    names = {served.port.ask("GET", "/health").header("x-request-id") for _ in range(20)}
    assert len(names) == 20
