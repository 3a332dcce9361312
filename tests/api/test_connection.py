"""Clients that are slow, silent or incomprehensible, on a listener with little patience."""

from __future__ import annotations

import socket
import statistics
import struct
import time
from collections.abc import Iterator

import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.http.connection import PatientConnection
from lmrun.api.listener import MAX_HEADER_BYTES
from tests.support.http import Port, listening, read_reply, serving_app, wait_until
from tests.support.stand_in_pool import StandInPool

PATIENCE_S = 0.3


@pytest.fixture
def pool() -> StandInPool:
    return StandInPool()


@pytest.fixture
def port(pool: StandInPool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.setattr(PatientConnection, "head_timeout_s", PATIENCE_S)
    monkeypatch.setattr(PatientConnection, "write_stall_s", PATIENCE_S)
    with listening(serving_app(build_app(pool, Door))) as port:
        yield port


def ends(sock: socket.socket) -> bool:
    """Whether the server closes the connection without a word, within the socket's timeout."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_a_head_that_does_not_end_is_given_up(port: Port, beginning: bytes) -> None:
    with port.connect() as sock:
        sock.sendall(beginning)
        assert ends(sock)


def test_half_open_connections_do_not_keep_others_waiting(port: Port) -> None:
    half_open = [port.connect() for _ in range(200)]
    for sock in half_open:
        sock.sendall(b"GET /health HTTP/1.1\r\n")
    assert port.ask("GET", "/health").status == 200
    for sock in half_open:
        assert ends(sock)
        sock.close()


def test_a_second_head_on_a_kept_connection_has_the_same_time(port: Port) -> None:
    request = f"GET /health HTTP/1.1\r\nHost: localhost:{port.number}\r\n\r\n".encode()
    with port.connect() as sock:
        sock.sendall(request)
        assert read_reply(sock).status == 200
        sock.sendall(request[:10])
        assert ends(sock)


def test_an_answer_that_takes_longer_than_a_head_may_is_no_slow_head(
    port: Port, pool: StandInPool
) -> None:
    pool.stop_at = "queue"
    with port.connect() as sock:
        sock.sendall(completion(port))
        wait_until(lambda: pool.open_leases == 1)
        sock.settimeout(3 * PATIENCE_S)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    wait_until(lambda: pool.is_idle)


def completion(port: Port, *, stream: bool = False) -> bytes:
    body = b'{"model": "assistant", "prompt": "x", "stream": %s}' % (
        b"true" if stream else b"false"
    )
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{port.number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_loses_its_generation(
    port: Port, pool: StandInPool, stream: bool
) -> None:
    # More than the kernel's buffers on both sides hold.
    pool.pieces = ("x" * 100_000,) * 100
    pool.stop_at = "mid-stream" if stream else None
    sockets = [port.connect(receive_buffer=4096) for _ in range(4)]
    for sock in sockets:
        sock.sendall(completion(port, stream=stream))
    wait_until(lambda: pool.reached.count("first token") == len(sockets))
    assert port.ask("GET", "/health").status == 200
    wait_until(lambda: pool.is_idle, within_s=10)
    for sock in sockets:
        sock.close()


def test_a_reset_connection_frees_its_generation(port: Port, pool: StandInPool) -> None:
    pool.stop_at = "mid-stream"
    sock = port.connect()
    sock.sendall(completion(port, stream=True))
    wait_until(lambda: "mid-stream" in pool.reached)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    wait_until(lambda: pool.is_idle)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (2 * MAX_HEADER_BYTES),
        b"GET /" + b"a" * (2 * MAX_HEADER_BYTES),
    ],
)
def test_what_is_no_http_is_a_400_in_the_envelope(port: Port, data: bytes) -> None:
    reply = port.send(data)
    assert (reply.status, reply.code) == (400, "invalid_http")
    assert reply.header("connection") == "close"


def test_a_head_within_the_limit_is_taken(port: Port) -> None:
    assert port.ask("GET", "/health", x="a" * (MAX_HEADER_BYTES - 1000)).status == 200


def test_garbage_after_a_request_does_not_disturb_its_answer(port: Port, pool: StandInPool) -> None:
    with port.connect() as sock:
        sock.sendall(completion(port) + b"\x00\x01 garbage\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(lambda: pool.is_idle)


def test_a_kept_connection_answers_without_waiting_for_acknowledgements(port: Port) -> None:
    request = f"GET /health HTTP/1.1\r\nHost: localhost:{port.number}\r\n\r\n".encode()
    times_s = []
    with port.connect() as sock:
        for _ in range(20):
            start = time.perf_counter()
            sock.sendall(request)
            assert read_reply(sock).status == 200
            times_s.append(time.perf_counter() - start)
    # A delayed acknowledgement takes 40 ms.
    assert statistics.median(times_s) < 0.02
