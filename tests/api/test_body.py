"""Bodies: how much, how deep, how slow, and what counts as JSON."""

from __future__ import annotations

import asyncio
import http.client
import json
import resource
import time
import tracemalloc
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest
from starlette.types import Message

from lmrun.api.body import MAX_DEPTH, MAX_VALUES, parse_json, read_body
from lmrun.api.door import Door
from lmrun.api.errors import BodyInvalid, BodyStalled
from lmrun.api.http import boundary
from lmrun.errors import BodyTooLarge
from tests.api.conftest import Served
from tests.support.http import read_reply

LIMIT = 10_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "b": tru}', "line 2, column 7"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": 1} x', "line 1, column 10"),
        (b'{"a": 1,}', "line 1, column"),
        (b'{"a": 01}', "line 1, column"),
        (b'{"a": "\x01"}', "Invalid control character at line 1, column 8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"model": "a", "model": "b"}', "'model' occurs twice"),
        (b'{"a": [{"b": 1, "c": 2, "b": 3}]}', "'b' occurs twice"),
        (b'{"a": "\xff"}', "byte 7"),
        ('{"a": 1}'.encode("utf-16"), "byte 0"),
        ("\ufeff{}".encode(), "byte order mark stands at line 1, column 1. Send UTF-8 without one"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": "\\udc00\\ud800"}', "surrogate"),
        (b'{"a": ' + b"9" * 5000 + b"}", "^A whole number has more than 4300 digits. No parameter"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 64"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "deeper than 64"),
        (b"[" * 200_000, "deeper than 64"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(body: bytes, says: str) -> None:
    with pytest.raises(BodyInvalid, match=says):
        parse_json(body)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "ü 😀"]},
        [],
        "[[[[" * 100,
        "{,[" * MAX_VALUES,
        '\\",[' * MAX_VALUES,
        [[]] * 100,
    ],
)
def test_json_is_taken_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_the_greatest_depth_is_taken() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * (10 * 2**20) + b"{}]",
        b"[" + b"0," * (8 * 2**20) + b"0]",
        b"[" + b'"",' * (8 * 2**20) + b'""]',
        b'{"a":["' + b"x" * 2**20 + b'"' + b",1" * (MAX_VALUES + 1) + b"]}",
    ],
    ids=["objects", "numbers", "strings", "beside text"],
)
def test_small_text_that_becomes_large_objects_is_refused_unread(body: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(BodyTooLarge, match=str(MAX_VALUES)):
        parse_json(body)
    assert time.perf_counter() - start < 1
    # Copies without the strings, but no objects; in kB on Linux, bytes elsewhere.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * len(body)


def head(served: Served, framing: str) -> bytes:
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{served.port.number}\r\n"
        f"Content-Type: application/json\r\n{framing}\r\n\r\n"
    ).encode()


def test_a_declared_length_over_the_limit_is_refused_before_the_body(served: Served) -> None:
    served.set_door(Door(body_limit_bytes=LIMIT))
    for length in (LIMIT + 1, 2**31, 10**18):
        reply = served.port.send(head(served, f"Content-Length: {length}"))
        assert (reply.status, reply.code) == (413, "body_too_large")
        assert reply.header("connection") == "close"


def test_chunks_are_counted_as_they_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "DISCARD_S", 0.1)
    served.set_door(Door(body_limit_bytes=LIMIT))
    with served.port.connect() as sock:
        sock.sendall(head(served, "Transfer-Encoding: chunked"))
        chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
        for _ in range(LIMIT // 0x400 + 1):
            sock.sendall(chunk)
        reply = read_reply(sock)
        assert (reply.status, reply.code) == (413, "body_too_large")
        # Nobody reads on for long: the connection ends although the body did not.
        assert sock.recv(1) == b""


def ask_ordinarily(
    served: Served, content: bytes | Iterable[bytes], **headers: str
) -> tuple[int, bytes]:
    """By a client that sends its whole body before it looks for an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port.number, timeout=10)
    with closing(connection):
        connection.request(
            "POST", "/v1/completions", content, {"Content-Type": "application/json", **headers}
        )
        reply = connection.getresponse()
        return reply.status, reply.read()


def test_a_client_that_sends_all_before_it_reads_sees_the_refusal(served: Served) -> None:
    content = b" " * (33 * 2**20)
    for headers in ({}, {"Connection": "close"}):
        status, body = ask_ordinarily(served, content, **headers)
        assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")


def test_what_is_discarded_is_not_kept(served: Served) -> None:
    content = b" " * (33 * 2**20)
    tracemalloc.start()
    try:
        assert ask_ordinarily(served, content)[0] == 413
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * 2**20


def test_a_client_that_sends_chunks_before_it_reads_sees_the_refusal(served: Served) -> None:
    served.set_door(Door(body_limit_bytes=LIMIT))
    status, _ = ask_ordinarily(served, (b" " * 65536 for _ in range(160)))
    assert status == 413


def test_a_refusal_before_the_body_is_seen_after_it(served: Served) -> None:
    status, _ = ask_ordinarily(
        served, b" " * (8 * 2**20), **{"Content-Encoding": "gzip", "Connection": "close"}
    )
    assert status == 415


def test_a_refused_body_is_not_read_forever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.set_door(Door(body_limit_bytes=LIMIT))
    monkeypatch.setattr(boundary, "DISCARD_BYTES", 2**20)
    with served.port.connect() as sock, pytest.raises(OSError, match=r"reset|[Bb]roken"):
        sock.sendall(head(served, f"Content-Length: {2**40}"))
        for _ in range(1024):
            sock.sendall(b" " * 2**20)


def test_a_refused_body_that_stops_holds_its_connection_for_a_moment_only(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.set_door(Door(body_limit_bytes=LIMIT))
    monkeypatch.setattr(boundary, "DISCARD_S", 0.1)
    with served.port.connect() as sock:
        sock.sendall(head(served, f"Content-Length: {2**40}"))
        assert read_reply(sock).status == 413
        sock.settimeout(1)
        assert sock.recv(1) == b""


def test_a_body_within_the_limit_is_taken(served: Served) -> None:
    body = json.dumps({"model": "assistant", "prompt": "x" * 100}).encode()
    served.set_door(Door(body_limit_bytes=len(body)))
    reply = served.port.send(head(served, f"Content-Length: {len(body)}") + body)
    assert reply.status == 200
    served.set_door(Door(body_limit_bytes=len(body) - 1))
    reply = served.port.send(head(served, f"Content-Length: {len(body)}") + body)
    assert reply.status == 413


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (
            "Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"0\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n",
        ),
        ("Content-Length: 2\r\nContent-Length: 3", b"{}}"),
        ("Content-Length: -1", b""),
        ("Content-Length: +2", b"{}"),
        ("Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"2\r\n{}XX0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity", b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
def test_doubtful_framing_is_a_400_and_the_end(served: Served, framing: str, body: bytes) -> None:
    with served.port.connect() as sock:
        sock.sendall(head(served, framing) + body)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 ") <= 1
    assert data == b"" or data.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert served.pool.reached == []


def test_a_client_that_leaves_while_sending_disturbs_nobody(served: Served) -> None:
    with served.port.connect() as sock:
        sock.sendall(head(served, "Content-Length: 1000") + b"{")
    assert served.port.ask("GET", "/health").status == 200
    assert served.pool.reached == []


def test_a_body_that_stops_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def read() -> None:
        await read_body({"headers": []}, receive, LIMIT, idle_timeout_s=0.01)

    with pytest.raises(BodyStalled):
        asyncio.run(read())
