"""From chunks to messages: pure, and in bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from lmrun.tools.mcp.backoff import Backoff
from lmrun.tools.mcp.deadlines import Deadlines
from lmrun.tools.mcp.transport.guard import MAX_REQUESTS, Guard, Pace
from lmrun.tools.mcp.transport.lines import Lines, Tail, TooLong
from lmrun.tools.mcp.transport.wire import Breach, is_shallow, parse_line


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 7))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], size: int) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    stream = b"".join(line + b"\n" for line in lines)
    splitter = Lines(limit=8)

    found = [
        line
        for start in range(0, len(stream), size)
        for line in splitter.feed(stream[start : start + size])
    ]

    assert [it.size if isinstance(it, TooLong) else it for it in found] == [
        line if len(line) <= 8 else len(line) for line in lines
    ]
    assert splitter.feed(b"\n") == [b""]


@given(st.lists(st.binary(max_size=40)))
def test_the_end_of_a_stream_is_kept(chunks: list[bytes]) -> None:
    tail = Tail(limit=16)
    for chunk in chunks:
        tail.feed(chunk)
    whole = b"".join(chunks)

    assert tail.text() == whole[-16:].decode("utf-8", "replace")
    assert tail.size == len(whole)


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_breaches(line: bytes) -> None:
    for incoming in parse_line(line.replace(b"\n", b"")):
        assert isinstance(incoming, Breach) or incoming.jsonrpc == "2.0"


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        (b'{"id":7,"result":\xff}', (7,)),
        (b'{"result":{"a":NaN},"id": "x-1"}', ("x-1",)),
        (b'{"jsonrpc":"2.0","id":7,"result":' + b"[" * 1000 + b"]" * 1000 + b"}", (7,)),
        (b'{"jsonrpc":"2.0","id":7,"result":' + b"[" * 10**6, (7,)),
        (b'{"jsonrpc":"2.0","id":7,"result":"text"}', (7,)),
        (b'{"jsonrpc":"2.0","id":true,"result":{}}', ()),
        (b"[]", ()),
        (b"hello", ()),
    ],
)
def test_what_cannot_be_read_still_says_whose_answer_it_was(
    line: bytes, ids: tuple[Any, ...]
) -> None:
    (breach,) = parse_line(line)

    assert isinstance(breach, Breach)
    assert breach.ids == ids


def test_depth_is_counted_in_containers() -> None:
    def nest(depth: int) -> Any:
        return [nest(depth - 1)] if depth > 1 else []

    assert is_shallow(nest(65))
    assert not is_shallow(nest(66))
    assert is_shallow({"a": [1, "x", None]})


def test_a_batch_is_several_messages() -> None:
    note = {"jsonrpc": "2.0", "method": "n"}
    line = json.dumps([note, {**note, "id": 1}, 5]).encode()

    first, second, third = parse_line(line)

    assert isinstance(first, JSONRPCNotification)
    assert isinstance(second, JSONRPCRequest)
    assert isinstance(third, Breach)


def test_only_what_was_asked_is_answered_and_only_once() -> None:
    guard = Guard()
    guard.sent(JSONRPCRequest(jsonrpc="2.0", id=1, method="tools/call"))
    answer = JSONRPCResponse(jsonrpc="2.0", id="1", result={})

    assert guard.received(answer) == ([answer], [])
    assert guard.received(answer) == ([], [])
    assert guard.received(JSONRPCResponse(jsonrpc="2.0", id=2, result={})) == ([], [])
    assert guard.counters.unasked == 2


def test_one_request_too_many_is_refused_until_another_is_answered() -> None:
    guard = Guard()
    requests = [
        JSONRPCRequest(jsonrpc="2.0", id=n, method="roots/list") for n in range(MAX_REQUESTS + 1)
    ]
    passed = [guard.received(it)[0] for it in requests]
    guard.sent(JSONRPCResponse(jsonrpc="2.0", id=0, result={}))

    assert [len(it) for it in passed] == [1] * MAX_REQUESTS + [0]
    assert guard.received(requests[-1])[0] == [requests[-1]]


def test_messages_are_slowed_down_to_a_pace() -> None:
    now_s = 0.0
    pace = Pace(rate=10, burst=20, clock=lambda: now_s)

    assert pace.take(20) == 0
    assert pace.take(5) == pytest.approx(0.5)
    now_s = 0.5
    assert pace.take(1) == pytest.approx(0.1)
    now_s = 100.0
    assert pace.take(20) == 0


def test_the_wait_before_a_new_start_doubles_up_to_a_bound() -> None:
    backoff = Backoff(first_s=0.5, longest_s=3.0, steady_s=10.0)

    assert [backoff.delay_s(n) for n in (1, 2, 3, 4, 400)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert (backoff.count(3, ran_s=1.0), backoff.count(3, ran_s=10.0)) == (4, 1)


def test_no_time_passes_while_somebody_is_asked() -> None:
    async def body() -> list[str]:
        deadlines = Deadlines()
        seen: list[str] = []

        async def call(seconds: float) -> None:
            try:
                async with deadlines.within(0.1):
                    await asyncio.sleep(seconds)
            except TimeoutError:
                seen.append("late")
            else:
                seen.append("in time")

        async def ask() -> None:
            with deadlines.paused(), deadlines.paused():
                await asyncio.sleep(0.3)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        await asyncio.gather(call(0.32), asking, call(5.0))
        await call(5.0)
        return seen

    assert asyncio.run(body()) == ["in time", "late", "late"]
