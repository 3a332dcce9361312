"""Bodies that are too long, too slow, or not what they say."""

from __future__ import annotations

import asyncio
import gzip
import resource
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lmrun.errors import OutboundFailed
from lmrun.tools.http.bodies import Gunzip
from lmrun.tools.http.outbound import Answer, OutboundClient, OutboundPolicy, make_client
from tests.support.origin import Exchange, origin

MIB = 2**20
HERE = OutboundPolicy(allow_loopback=True, timeout_s=10.0)


def send(url: str, policy: OutboundPolicy = HERE) -> Answer:
    async def run() -> Answer:
        async with OutboundClient(policy) as client:
            return await client.send("GET", url)

    return asyncio.run(run())


def failure_of(url: str, policy: OutboundPolicy = HERE) -> str:
    with pytest.raises(OutboundFailed) as failure:
        send(url, policy)
    return failure.value.reason


def peak_bytes() -> int:
    """The most memory that this process had at a time, since `forget_peak` where there is one."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        line = next(it for it in status.splitlines() if it.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def one_member(size: int) -> bytes:
    """`size` zeros as one gzip stream. Once the window is full of zeros, whole blocks repeat."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + first * (size // MIB)


BOMBS = {
    "one stream": one_member(1024 * MIB),
    "many streams": gzip.compress(bytes(16 * MIB)) * 64,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=list(BOMBS))
def test_a_gigabyte_in_gzip_ends_at_the_bound(bomb: bytes) -> None:
    assert len(bomb) < 4 * MIB

    def explode(exchange: Exchange) -> None:
        exchange.say(200, bomb, media_type="text/plain", Content_Encoding="gzip")

    with origin(explode) as server:
        send_whole = OutboundPolicy(allow_loopback=True, max_bytes=len(bomb), timeout_s=10.0)
        assert failure_of(server.url) == "too_large"
        forget_peak()
        before = peak_bytes()
        assert failure_of(server.url, send_whole) == "too_large"
        assert failure_of(server.url) == "too_large"
    assert peak_bytes() - before < 24 * MIB


def test_a_bomb_is_bounded_for_libraries_too() -> None:
    bomb = BOMBS["one stream"]

    def explode(exchange: Exchange) -> None:
        exchange.say(200, bomb, media_type="application/json", Content_Encoding="gzip")

    async def run() -> None:
        policy = OutboundPolicy(allow_loopback=True, max_bytes=len(bomb), timeout_s=10.0)
        async with make_client(policy) as client:
            with pytest.raises(OutboundFailed) as failure:
                await client.get(server.url)
            assert failure.value.reason == "too_large"

    with origin(explode) as server:
        asyncio.run(run())


def test_decompressing_gives_small_pieces_whatever_comes() -> None:
    pieces = Gunzip().feed(BOMBS["many streams"])
    assert max(len(next(pieces)) for _ in range(500)) <= 64 * 2**10


@pytest.mark.parametrize("size", [0, 1, 1000, 3 * MIB])
def test_what_was_compressed_arrives_whole(size: int) -> None:
    text = bytes(index * 31 % 251 for index in range(size))
    packed = gzip.compress(text[: size // 2]) + gzip.compress(text[size // 2 :])

    offered: list[list[str] | None] = []

    def answer(exchange: Exchange) -> None:
        offered.append(exchange.headers.get_all("accept-encoding"))
        exchange.say(200, packed, media_type="text/plain", Content_Encoding="gzip")

    with origin(answer) as server:
        answered = send(server.url, OutboundPolicy(allow_loopback=True, max_bytes=size))
    assert answered.body == text
    assert offered == [["gzip"]]
    assert "content-encoding" not in answered.headers


DAMAGED = {
    "cut off": (gzip.compress(bytes(1000))[:-6], "gzip"),
    "no gzip": (b"hello", "gzip"),
    "damaged": (gzip.compress(bytes(1000))[:12] + b"\xff" * 20, "gzip"),
    "wrong checksum": (gzip.compress(b"x")[:-8] + bytes(8), "gzip"),
    "not offered": (b"x", "br"),
    "twice": (gzip.compress(gzip.compress(b"x")), "gzip, gzip"),
}


@pytest.mark.parametrize(("body", "encoding"), DAMAGED.values(), ids=list(DAMAGED))
def test_what_cannot_be_decompressed_is_a_fault_of_the_server(body: bytes, encoding: str) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.say(200, body, Content_Encoding=encoding)

    with origin(answer) as server:
        assert failure_of(server.url) == "protocol"


def test_a_body_without_an_end_ends_at_the_bound() -> None:
    def pour(exchange: Exchange) -> None:
        exchange.begin(200, media_type="text/plain")
        while not exchange.server.origin.stop.is_set():
            exchange.wfile.write(bytes(64 * 1024))

    with origin(pour) as server:
        assert failure_of(server.url) == "too_large"


def test_a_length_beyond_the_bound_is_refused_before_it_comes() -> None:
    def promise(exchange: Exchange) -> None:
        exchange.begin(200, media_type="text/plain", content_length=str(10**12))
        exchange.server.origin.stop.wait(20)

    with origin(promise) as server:
        begun = time.monotonic()
        assert failure_of(server.url) == "too_large"
        assert time.monotonic() - begun < 5


def test_exactly_the_bound_is_fine() -> None:
    with origin(lambda exchange: exchange.say(200, bytes(1000))) as server:
        policy = OutboundPolicy(allow_loopback=True, max_bytes=1000)
        assert len(send(server.url, policy).body) == 1000
        smaller = OutboundPolicy(allow_loopback=True, max_bytes=999)
        assert failure_of(server.url, smaller) == "too_large"


def drip(exchange: Exchange) -> None:
    """A byte now and then, never an end: each wait is short, all of them are not."""
    if exchange.path == "/body":
        exchange.begin(200, media_type="text/plain")
    else:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not exchange.server.origin.stop.wait(0.05):
        exchange.wfile.write(b"x")
        exchange.wfile.flush()


@pytest.mark.parametrize("path", ["/body", "/head"])
def test_a_server_that_drips_ends_at_the_timeout(path: str) -> None:
    policy = OutboundPolicy(allow_loopback=True, timeout_s=0.5)

    async def run() -> None:
        async with make_client(policy) as client:
            begun = time.monotonic()
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(server.url + path)
            assert 0.4 < time.monotonic() - begun < 3

    with origin(drip) as server:
        begun = time.monotonic()
        assert failure_of(server.url + path, policy) == "timeout"
        assert 0.4 < time.monotonic() - begun < 3
        asyncio.run(run())


def test_the_timeout_is_for_all_redirects_together() -> None:
    def dawdle(exchange: Exchange) -> None:
        exchange.server.origin.stop.wait(0.3)
        exchange.say(302, b"", Location="/again")

    async def run() -> None:
        policy = OutboundPolicy(allow_loopback=True, timeout_s=0.7)
        async with OutboundClient(policy) as client:
            with pytest.raises(OutboundFailed) as failure:
                await client.send("GET", server.url, follow=True)
            assert failure.value.reason == "timeout"

    with origin(dawdle) as server:
        asyncio.run(run())
    assert len(server.asked) <= 3


def test_headers_without_an_end_are_a_fault_of_the_server() -> None:
    def pour(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not exchange.server.origin.stop.is_set():
            exchange.wfile.write(b"X-More: " + bytes(b"x" * 4096) + b"\r\n")

    with origin(pour) as server:
        assert failure_of(server.url) == "protocol"


@pytest.mark.parametrize(
    "raw",
    [b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"\x00" * 100],
)
def test_what_is_no_http_is_a_fault_of_the_server(raw: bytes) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(raw)
        exchange.close_connection = True

    with origin(answer) as server:
        assert failure_of(server.url) == "protocol"


def test_nobody_there_is_unreachable() -> None:
    with origin() as server:
        url = server.url
    assert failure_of(url) == "unreachable"


def test_a_stream_of_events_goes_on_beyond_size_and_time() -> None:
    """What MCP's transports need; everything else of the same server stays bounded."""
    policy = OutboundPolicy(allow_loopback=True, max_bytes=10_000, timeout_s=0.5)

    def stream(exchange: Exchange) -> None:
        if exchange.path == "/json":
            exchange.say(200, bytes(20_000), media_type="application/json")
            return
        exchange.begin(200, media_type="text/event-stream; charset=utf-8")
        for number in range(10):
            exchange.wfile.write(f"data: {number} {'x' * 3000}\n\n".encode())
            exchange.wfile.flush()
            exchange.server.origin.stop.wait(0.1)

    async def run() -> list[Any]:
        async with make_client(policy) as client:
            async with client.sse(server.url + "/events") as events:
                got = [event.data.split()[0] async for event in events]
            with pytest.raises(OutboundFailed):
                await client.get(server.url + "/json")
            return got

    with origin(stream) as server:
        assert asyncio.run(run()) == [str(number) for number in range(10)]
        bounded = OutboundPolicy(allow_loopback=True, max_bytes=10_000, timeout_s=20.0)
        assert failure_of(server.url + "/events", bounded) == "too_large"


def test_cancelling_closes_the_connection() -> None:
    closed: list[bool] = []

    def pour(exchange: Exchange) -> None:
        exchange.begin(200, media_type="text/plain")
        try:
            while not exchange.server.origin.stop.wait(0.02):
                exchange.wfile.write(b"x")
        except OSError:
            closed.append(True)

    async def run() -> None:
        async with OutboundClient(HERE) as client:
            sending = asyncio.create_task(client.send("GET", server.url))
            while not server.asked:
                await asyncio.sleep(0.01)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            deadline = time.monotonic() + 5
            while not closed and time.monotonic() < deadline:
                await asyncio.sleep(0.01)

    with origin(pour) as server:
        asyncio.run(run())
    assert closed == [True]
