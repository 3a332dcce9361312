"""The error table, and how failures look from outside."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest
from starlette.types import ASGIApp

from lmrun import errors
from lmrun.api import errors as api_errors
from lmrun.api.app import make_router
from lmrun.api.envelope import OPENAI
from lmrun.api.errors import TABLE, to_body, to_headers
from lmrun.api.http.boundary import Boundary
from lmrun.api.routes import Call, Route
from lmrun.errors import EngineCrashed, LmrunError, ModelNotReady, QueueFull
from tests.api.conftest import Served
from tests.support.http import listening, serving_app


def classes(root: type[LmrunError]) -> Iterator[type[LmrunError]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


OURS = [
    kind
    for kind in dict.fromkeys(classes(LmrunError))
    if kind.__module__ in (errors.__name__, api_errors.__name__)
]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_a_row(kind: type[LmrunError]) -> None:
    assert kind in TABLE
    assert 400 <= TABLE[kind].status < 600


def test_the_table_has_no_row_without_a_class() -> None:
    assert set(TABLE) == set(OURS)


def test_an_error_carries_its_hint_and_parameter() -> None:
    error = errors.InvalidParameter("It is wrong.", param="top_p", hint="Use 1.")
    assert msgspec.to_builtins(to_body(error)) == {
        "message": "It is wrong. Use 1.",
        "type": "invalid_request_error",
        "param": "top_p",
        "code": "invalid_parameter",
    }


@pytest.mark.parametrize(
    ("returncode", "code"), [(-9, "signal_9"), (3, "exit_3"), (None, "connection_lost")]
)
def test_a_crash_says_how_the_worker_ended(returncode: int | None, code: str) -> None:
    body = to_body(EngineCrashed("It died.", returncode=returncode))
    assert (body.type, body.code) == ("engine_crashed", code)


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (QueueFull("full", retry_after_s=7), 429, {b"retry-after": b"7"}),
        (ModelNotReady("later", retry_after_s=2), 503, {b"retry-after": b"2"}),
        (
            ModelNotReady("only another profile helps"),
            503,
            {b"retry-after": b"60", b"x-should-retry": b"false"},
        ),
        (EngineCrashed("dead"), 500, {b"x-should-retry": b"false"}),
    ],
)
def test_an_error_says_whether_to_ask_again(
    error: LmrunError, status: int, headers: dict[bytes, bytes]
) -> None:
    assert OPENAI.to_status(type(error)) == status
    assert dict(to_headers(error)) == headers


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/chat", "/v1/models/", "/V1/models", "/openapi.json/"]
)
def test_an_unknown_path_is_a_404_in_the_envelope(served: Served, path: str) -> None:
    reply = served.port.ask("GET", path)
    assert reply.status == 404
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/health", "GET, HEAD"),
        ("OPTIONS", "/health", "GET, HEAD"),
        ("TRACE", "/v1/completions", "POST"),
    ],
)
def test_a_wrong_method_is_a_405_in_the_envelope(
    served: Served, method: str, path: str, allowed: str
) -> None:
    reply = served.port.ask(method, path, {})
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.header("allow") == allowed


def test_head_is_get_without_the_body(served: Served) -> None:
    with served.port.connect() as sock:
        host = f"localhost:{served.port.number}"
        sock.sendall(f"HEAD /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        data = sock.makefile("rb").read()
    assert data.startswith(b"HTTP/1.1 200")
    assert data.endswith(b"\r\n\r\n")


def test_an_unknown_query_parameter_is_refused_by_name(served: Served) -> None:
    reply = served.port.ask("GET", "/v1/models?limit=3")
    assert (reply.status, reply.json["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize(
    "path", ["/v1/models/a%0d%0aSet-Cookie:x", "/a%0d%0aSet-Cookie:x", "/?%0d%0ax=1"]
)
def test_nothing_of_a_request_becomes_a_header(served: Served, path: str) -> None:
    reply = served.port.ask("GET", path, x_request_id="mine\x7f")
    assert "set-cookie" not in reply.headers
    assert (reply.header("x-request-id") or "").startswith("req_")
    assert set(reply.headers) == {
        "date",
        "content-type",
        "content-length",
        "x-request-id",
        "x-content-type-options",
    }


def test_every_answer_has_its_own_request_id(served: Served) -> None:
    paths = ["/health", "/v1/models", "/unknown", "/v1/completions"]
    ids = {served.port.ask("GET", path).header("x-request-id") for path in paths}
    assert len(ids) == len(paths)
    assert None not in ids


def failing_app() -> ASGIApp:
    async def fail(call: Call) -> ASGIApp:
        raise RuntimeError("secret detail /home/me/key")

    return Boundary(make_router([Route("GET", "/fail", fail, "It fails")]))


def test_an_unexpected_failure_shows_an_id_and_logs_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with listening(serving_app(failing_app())) as port, caplog.at_level(logging.ERROR):
        reply = port.ask("GET", "/fail")
    assert (reply.status, reply.code) == (500, "internal_error")
    assert "secret" not in reply.body.decode()
    request_id = reply.header("x-request-id")
    assert request_id and request_id in reply.json["error"]["message"]
    assert request_id in caplog.text
    assert "secret detail" in caplog.text
