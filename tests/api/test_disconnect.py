"""A client that leaves takes its generation with it, wherever that is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any, get_args

import pytest
from starlette.types import Message

from lmrun.api.http.disconnect import run_while_connected
from tests.api.conftest import Served
from tests.support.http import wait_until
from tests.support.stand_in_pool import Phase

PHASES: tuple[Phase, ...] = get_args(Phase)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}


def start(served: Served, path: str, *, stream: bool) -> socket.socket:
    """A request whose answer nobody reads yet."""
    body = json.dumps({"model": "assistant", "stream": stream, **BODIES[path]}).encode()
    sock = served.port.connect()
    sock.sendall(
        f"POST {path} HTTP/1.1\r\nHost: localhost:{served.port.number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return sock


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("phase", PHASES)
def test_leaving_closes_the_generation_at_once(
    served: Served, phase: Phase, stream: bool, path: str
) -> None:
    served.pool.stop_at = phase
    sock = start(served, path, stream=stream)
    wait_until(lambda: phase in served.pool.reached)
    assert served.pool.open_leases == 1
    assert served.pool.open_generators == (0 if phase == "queue" else 1)
    sock.close()
    assert wait_until(lambda: served.pool.is_idle) < 0.25


@pytest.mark.parametrize("phase", PHASES)
def test_closing_only_the_sending_half_is_leaving_too(served: Served, phase: Phase) -> None:
    served.pool.stop_at = phase
    with start(served, "/v1/completions", stream=True) as sock:
        wait_until(lambda: phase in served.pool.reached)
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: served.pool.is_idle)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("phase", PHASES)
def test_many_that_leave_at_once_leave_nothing(served: Served, phase: Phase, stream: bool) -> None:
    served.pool.stop_at = phase
    sockets = [start(served, "/v1/chat/completions", stream=stream) for _ in range(30)]
    wait_until(lambda: served.pool.reached.count(phase) == len(sockets))
    for sock in sockets:
        sock.close()
    wait_until(lambda: served.pool.is_idle)
    assert served.port.ask("GET", "/health").status == 200


def test_who_leaves_says_nothing_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for phase in PHASES:
        served.pool.stop_at = phase
        with start(served, "/v1/completions", stream=True):
            wait_until(lambda: not served.pool.is_idle)
        wait_until(lambda: served.pool.is_idle)
    assert caplog.records == []


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_cancellation_from_elsewhere_is_none_of_ours() -> None:
    async def body() -> None:
        task = asyncio.create_task(run_while_connected(never, asyncio.Event().wait))  # type: ignore[arg-type]  # the result is not used
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(body())


def test_clean_up_after_leaving_may_wait() -> None:
    steps: list[str] = []

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            steps.append("cleaned up")

    async def body() -> None:
        await run_while_connected(gone, work)
        steps.append("returned")
        # The task itself is not left cancelled.
        await asyncio.sleep(0)
        steps.append("went on")

    asyncio.run(body())
    assert steps == ["cleaned up", "returned", "went on"]


def test_a_failure_of_the_work_is_not_hidden() -> None:
    async def work() -> None:
        raise ValueError("mine")

    with contextlib.suppress(asyncio.CancelledError), pytest.raises(ValueError, match="mine"):
        asyncio.run(run_while_connected(never, work))
