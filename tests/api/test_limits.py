"""What one client may take: requests of a key, connections, time, sizes. Beyond it, a clear no."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from lmrun.api.app import build_app
from lmrun.api.body import MIN_BYTES_PER_S, read_body
from lmrun.api.door import Door, Key
from lmrun.api.errors import TABLE, BodyStalled, TooManyRequests, to_headers
from lmrun.api.http.connection import MOST_REFUSED
from lmrun.api.http.gate import Gate
from lmrun.api.http.throttle import Throttle
from lmrun.api.http.turnstile import Turnstile
from lmrun.api.listener import PortListener
from lmrun.errors import LmrunError
from lmrun.profile.schema import Limits, ServerConfig
from lmrun.settings.secret import Secret
from tests.api.conftest import Served
from tests.support.http import Port, read_reply, wait_until
from tests.support.stand_in_pool import StandInPool

KEY = "k" * 40
OTHER = "o" * 40
TWO_KEYS = (
    Key("ci", Secret(KEY), frozenset({"inference"})),
    Key("ui", Secret(OTHER), frozenset({"inference"})),
)
COMPLETION = {"model": "assistant", "prompt": "x"}
CHAT: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f"}}


def begin(port: Port, body: dict[str, Any], *, key: str | None = None) -> socket.socket:
    """A request whose answer nobody has read yet."""
    content = json.dumps(body).encode()
    head = [
        "POST /v1/completions HTTP/1.1",
        f"Host: localhost:{port.number}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *([f"X-Api-Key: {key}"] if key else []),
    ]
    sock = port.connect()
    sock.sendall("\r\n".join([*head, "", ""]).encode() + content)
    return sock


def test_a_key_has_so_many_requests_at_a_time_and_other_keys_have_theirs(served: Served) -> None:
    served.set_door(Door(keys=TWO_KEYS, streams_per_key=2))
    served.pool.stop_at = "queue"
    held = [begin(served.port, COMPLETION, key=KEY) for _ in range(2)]
    wait_until(lambda: served.pool.open_leases == 2)
    refused = served.port.ask("POST", "/v1/completions", COMPLETION, x_api_key=KEY)
    assert (refused.status, refused.code) == (429, "too_many_requests")
    assert refused.header("retry-after") == "1"
    assert "streams_per_key" in refused.json["error"]["message"]
    assert served.port.ask("GET", "/v1/models", x_api_key=OTHER).status == 200
    assert served.port.ask("GET", "/health").status == 200
    for sock in held:
        sock.close()
    wait_until(lambda: served.port.ask("GET", "/v1/models", x_api_key=KEY).status == 200)


def test_a_failed_request_frees_its_place(served: Served) -> None:
    served.set_door(Door(keys=TWO_KEYS, streams_per_key=1))
    for _ in range(3):
        assert served.port.ask("POST", "/v1/completions", {}, x_api_key=KEY).status == 400


def test_a_turnstile_forgets_who_has_left() -> None:
    turnstile = Turnstile()
    with turnstile.passing("a", 1):
        with pytest.raises(TooManyRequests), turnstile.passing("a", 1):
            pass
        with turnstile.passing("b", 1):
            pass
    with turnstile.passing("a", 1):
        pass


def test_websockets_of_a_key_are_no_streams_of_it() -> None:
    inside: list[str] = []

    async def stay(scope: Scope, receive: Receive, send: Send) -> None:
        inside.append(scope["type"])
        await asyncio.Event().wait()

    async def enter() -> None:
        door = Door(keys=TWO_KEYS, streams_per_key=1)
        gate = Gate(stay, lambda: door, frozenset(), Throttle())
        headers = [(b"host", b"localhost"), (b"x-api-key", KEY.encode())]
        scope = {"path": "/", "headers": headers, "server": ("127.0.0.1", 1), "client": None}

        async def no_message() -> Message:
            raise AssertionError

        async def no_answer(message: Message) -> None:
            raise AssertionError

        kinds = ["websocket", "websocket", "http", "http"]
        entering = [
            asyncio.ensure_future(
                gate({**scope, "type": kind, "method": "GET"}, no_message, no_answer)
            )
            for kind in kinds
        ]
        done, _ = await asyncio.wait(entering, timeout=0.2)
        (refused,) = done
        assert isinstance(refused.exception(), TooManyRequests)
        for task in entering:
            task.cancel()
        await asyncio.gather(*entering, return_exceptions=True)

    asyncio.run(enter())
    assert inside == ["websocket", "websocket", "http"]


def test_an_answer_that_takes_too_long_is_a_504_before_its_first_event(served: Served) -> None:
    served.set_door(Door(request_time_s=0.2))
    served.pool.stop_at = "prefill"
    for stream in (True, False):
        body = {**COMPLETION, "stream": stream}
        # A stream has begun with the first event, which is the progress of its prompt.
        served.pool.stop_at = "queue" if stream else "prefill"
        reply = served.port.ask("POST", "/v1/completions", body)
        assert (reply.status, reply.code) == (504, "answer_timed_out")
        assert reply.header("x-should-retry") == "false"
        assert "request_time" in reply.json["error"]["message"]
    wait_until(lambda: served.pool.is_idle)


def test_a_stream_that_takes_too_long_ends_with_the_error(served: Served) -> None:
    served.set_door(Door(request_time_s=0.2))
    served.pool.stop_at = "mid-stream"
    reply = served.port.ask("POST", "/v1/completions", {**COMPLETION, "stream": True})
    assert reply.status == 200
    last = reply.body.strip().split(b"\n\n")[-1].removeprefix(b"data: ")
    assert json.loads(last)["error"]["code"] == "answer_timed_out"
    wait_until(lambda: served.pool.is_idle)


def test_an_answer_in_time_is_not_disturbed(served: Served) -> None:
    served.set_door(Door(request_time_s=30))
    reply = served.port.ask("POST", "/v1/completions", {**COMPLETION, "stream": True})
    assert reply.body.endswith(b"data: [DONE]\n\n")


@pytest.fixture
def full_port() -> Iterator[tuple[Port, PortListener, asyncio.AbstractEventLoop]]:
    """A listener in a loop of its own, which takes three connections."""
    import threading

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    config = ServerConfig(port=0, limits=Limits(connections=3))

    async def listen() -> PortListener:
        listener = PortListener(build_app(StandInPool(), Door))
        await listener.listen(config)
        return listener

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    try:
        assert listener.address is not None
        yield Port(int(listener.address.rpartition(":")[2])), listener, loop
    finally:
        asyncio.run_coroutine_threadsafe(listener.close(drain_s=0.5), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_a_connection_too_many_is_told_so_until_another_one_ends(
    full_port: tuple[Port, PortListener, asyncio.AbstractEventLoop],
) -> None:
    port, listener, _ = full_port
    request = f"GET /health HTTP/1.1\r\nHost: localhost:{port.number}\r\n\r\n".encode()
    kept = [port.connect() for _ in range(3)]
    for sock in kept:
        sock.sendall(request)
        assert read_reply(sock).status == 200
    reply = port.ask("POST", "/v1/completions", COMPLETION)
    assert (reply.status, reply.code) == (503, "too_many_connections")
    assert (reply.header("retry-after"), reply.header("connection")) == ("1", "close")
    assert reply.header("x-request-id")
    # Who was in goes on, and a place that is left can be taken.
    kept[0].sendall(request)
    assert read_reply(kept[0]).status == 200
    kept[1].close()
    wait_until(lambda: port.ask("GET", "/health").status == 200)
    # The limit counts from the next connection on.
    assert listener.config is not None
    listener.update(listener.config.model_copy(update={"limits": Limits(connections=1)}))
    assert port.ask("GET", "/health").status == 503
    for sock in kept:
        sock.close()


def test_far_too_many_connections_are_closed_without_a_word(
    full_port: tuple[Port, PortListener, asyncio.AbstractEventLoop],
) -> None:
    port, _, _ = full_port
    sockets = [port.connect() for _ in range(3 + MOST_REFUSED)]
    with port.connect() as sock, contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b""
    for sock in sockets:
        sock.close()
    wait_until(lambda: port.ask("GET", "/health").status == 200)


def test_a_body_that_only_trickles_is_given_up() -> None:
    """Each byte comes in time, and all of them would take for ever."""

    async def receive() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> bytes:
        return await read_body({"headers": []}, receive, 2**20, idle_timeout_s=0.2)

    start = time.monotonic()
    with pytest.raises(BodyStalled):
        asyncio.run(read())
    assert time.monotonic() - start < 5


def test_a_body_that_comes_fast_enough_may_take_longer_than_a_pause() -> None:
    pieces = [b"x" * (MIN_BYTES_PER_S // 10)] * 8

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        piece = pieces.pop()
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def read() -> bytes:
        return await read_body({"headers": []}, receive, 2**20, idle_timeout_s=0.2)

    assert len(asyncio.run(read())) == 8 * (MIN_BYTES_PER_S // 10)


SIZES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "n": (CHAT, 8, 9),
    "stop": (CHAT, ["x"] * 16, ["x"] * 17),
    "logit_bias": (CHAT, {str(n): 0 for n in range(1024)}, {str(n): 0 for n in range(1025)}),
    "messages": (CHAT, CHAT["messages"] * 4096, CHAT["messages"] * 4097),
    "tools": (
        CHAT,
        [{"type": "function", "function": {"name": f"f{n}"}} for n in range(128)],
        [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)],
    ),
    "best_of": (COMPLETION, 8, 9),
}
ABSURD: dict[str, Any] = {
    "n": 10**9,
    "stop": ["x"] * 100_000,
    "logit_bias": {str(n): 0 for n in range(100_000)},
    "messages": CHAT["messages"] * 50_000,
    "tools": [TOOL] * 50_000,
    "best_of": 10**9,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_at_its_limit_is_no_reason_to_refuse(served: Served, name: str) -> None:
    base, most, _ = SIZES[name]
    path = "/v1/completions" if base is COMPLETION else "/v1/chat/completions"
    body = {**base, name: most, **({"n": 8} if name == "best_of" else {})}
    reply = served.port.ask("POST", path, body)
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("value", ["one more", "absurd"])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_beyond_its_limit_is_refused_at_once_by_name(
    served: Served, name: str, value: str
) -> None:
    base, _, more = SIZES[name]
    path = "/v1/completions" if base is COMPLETION else "/v1/chat/completions"
    body = {**base, name: ABSURD[name] if value == "absurd" else more}
    start = time.monotonic()
    reply = served.port.ask("POST", path, body)
    assert (reply.status, reply.json["error"]["param"]) == (400, name)
    assert time.monotonic() - start < 2
    assert served.pool.reached == []


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_whoever_is_told_to_come_back_is_told_when(kind: type[LmrunError]) -> None:
    if TABLE[kind].status not in (429, 503):
        return
    error = kind.__new__(kind)
    LmrunError.__init__(error, "x")
    named = {b"retry-after"} & {name for name, _ in to_headers(error)}
    assert named, kind


def test_the_profile_sets_every_limit_of_the_door() -> None:
    limits = Limits.model_validate({"body": "5B", "streams_per_key": 6, "request_time": "7s"})
    door = Door.from_config(ServerConfig(limits=limits))
    assert (door.body_limit_bytes, door.streams_per_key, door.request_time_s) == (5, 6, 7.0)
