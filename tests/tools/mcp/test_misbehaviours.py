"""Whatever a server does: its call has a result in time, others go on, and memory stays flat."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lmrun.tools.mcp.host import McpHost
from lmrun.tools.tool import ErrorKind, ToolResult
from tests.tools.mcp.support import call, declare, eventually, find, hosting, run

SHORT_S, LONG_S = 0.4, 30.0
"""The timeout of calls that use it up, and of those that do not."""
SLACK_S = 4.0
"""Beyond a call's timeout, on a machine with other things to do."""
MAX_GROWTH_BYTES = 32 * 2**20

CALLS: list[tuple[str, ErrorKind | None, str]] = [
    ("bad_utf8", "protocol", "no JSON"),
    ("noise", None, "after the noise"),
    ("long_line", "too_large", "a line of 100000"),
    ("long_line_of_nothing", None, "after the line"),
    ("deep_json", "protocol", "more than 64 deep"),
    ("somewhat_deep_json", "protocol", "more than 64 deep"),
    ("unknown_id", "timeout", "within 0.4 s"),
    ("duplicate_id", None, "first"),
    ("exit_mid_call", "crashed", "exit code 3"),
    ("killed_mid_call", "crashed", "SIGKILL"),
    ("silence", "timeout", "within 0.4 s"),
    ("stderr_flood", None, "after the flood"),
    ("odd_messages", None, "after all that"),
    ("endless_progress", "timeout", "within 0.4 s"),
    ("wrong_shape", "protocol", "content"),
    ("result_is_a_list", "protocol", "no message of JSON-RPC"),
    ("error_is_a_text", "protocol", "no message of JSON-RPC"),
    ("error_without_a_message", "protocol", "no message of JSON-RPC"),
    ("error_with_a_text_as_code", "protocol", "no message of JSON-RPC"),
    ("plain_error", "failed", "The server says: no such[31m thing"),
    ("neither_result_nor_error", "protocol", "no message of JSON-RPC"),
    ("no_jsonrpc_version", "protocol", "no message of JSON-RPC"),
    ("notification_flood", "timeout", "within 0.4 s"),
    ("change_flood", None, "after the flood"),
    ("request_flood", None, "after the flood"),
    ("asks_for_what_it_may_not", None, "Sampling not supported"),
    ("unknown_requests", None, "-32601"),
    ("closes_stdout", "crashed", "closed its output"),
    ("half_a_line_then_exit", "crashed", "exit code 0"),
    ("leaves_a_child_behind", "crashed", "exit code 4"),
    ("answers_too_late", "timeout", "within 0.4 s"),
    ("batch", None, "in a batch"),
    ("nan", "protocol", "no JSON"),
    ("big_numbers", "protocol", ""),
    ("promises_structure", "protocol", "not as the tool has promised"),
    ("catastrophic_pattern", "protocol", "not as the tool has promised"),
    ("reads_nothing", "timeout", "within 0.4 s"),
]


@pytest.mark.parametrize(("behaviour", "error", "text"), CALLS, ids=[it[0] for it in CALLS])
def test_a_call_has_a_result_in_time(behaviour: str, error: ErrorKind | None, text: str) -> None:
    async def body() -> None:
        timeout_s = SHORT_S if error == "timeout" else LONG_S
        bad = declare(behaviour, timeout=f"{timeout_s}s")
        async with hosting({"bad": bad, "good": declare()}) as host:
            poke = await find(host, "bad", "poke")
            await call(host, "good", "echo", text="warm up")
            before = _reset_peak()
            others = Others(host)
            began = time.monotonic()
            result = await poke.call({}, lambda progress: None)
            took_s = time.monotonic() - began
            others_s = await others.stop()

            assert (result.error, text in result.text) == (error, True), result
            assert took_s < timeout_s + SLACK_S
            assert max(others_s) < SLACK_S
            assert _peak() - before < MAX_GROWTH_BYTES

    run(body())


@pytest.mark.parametrize(
    "behaviour",
    ["exit_mid_call", "killed_mid_call", "long_line", "bad_utf8", "batch"],
)
def test_it_is_of_use_again_afterwards(behaviour: str) -> None:
    async def body() -> None:
        async with hosting({"bad": declare(behaviour)}) as host:
            await call(host, "bad", "poke")

            assert (await call(host, "bad", "echo", text="still here")).text == "still here"

    run(body())


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("wrong_version", "Unsupported protocol version"),
        ("exit_at_start", "gone before it was ready"),
        ("never_ready", "not ready within 0.5 s"),
        ("endless_pages", "more than 64 pages"),
        ("pages_in_a_circle", "back to where it has been"),
        ("list_is_no_list", "could not list its tools"),
    ],
)
def test_one_that_cannot_begin_offers_nothing(behaviour: str, error: str) -> None:
    async def body() -> None:
        bad = declare(behaviour, start_timeout="0.5s")
        async with hosting({"bad": bad, "good": declare()}) as host:
            began = time.monotonic()
            tools, good = await asyncio.gather(host.tools("bad"), host.tools("good"))

            assert (list(tools), len(good)) == ([], 3)
            assert time.monotonic() - began < 10
            status = await eventually(lambda: _with_error(host, "bad"))
            assert error in status.error

    run(body())


def test_one_that_fails_again_and_again_is_left_alone_until_it_is_needed() -> None:
    async def body() -> None:
        async with hosting({"bad": declare("exit_at_start")}) as host:
            await host.tools("bad")
            await eventually(lambda: host.statuses()["bad"].state == "failed")
            status = host.statuses()["bad"]

            assert status.restarts >= 3
            assert "no such configuration" in status.stderr_tail

    run(body())


def test_an_answer_that_comes_too_late_is_not_taken_for_another_one() -> None:
    async def body() -> None:
        async with hosting({"bad": declare("answers_too_late", timeout="0.3s")}) as host:
            late = await call(host, "bad", "poke")
            echoes = [await call(host, "bad", "echo", text=f"{n}") for n in range(3)]
            await eventually(lambda: host.statuses()["bad"].counters.unasked == 1)

            assert late.error == "timeout"
            assert [it.text for it in echoes] == ["0", "1", "2"]

    run(body())


def test_one_that_never_answers_is_started_again() -> None:
    async def body() -> None:
        async with hosting({"bad": declare("silence", timeout="0.2s")}) as host:
            first = host.statuses()["bad"].pid
            results = [await call(host, "bad", "poke") for _ in range(3)]
            echo = await call(host, "bad", "echo", text="back")

            assert [it.error for it in results] == ["timeout"] * 3
            assert echo.text == "back"
            assert host.statuses()["bad"].restarts == 1
            assert host.statuses()["bad"].pid != first

    run(body())


def test_more_requests_than_can_be_answered_are_refused() -> None:
    async def body() -> None:
        async with hosting({"bad": declare("request_flood")}) as host:
            await call(host, "bad", "poke")

            assert host.statuses()["bad"].counters.refused > 900

    run(body())


def test_the_end_of_what_it_writes_to_stderr_is_kept() -> None:
    async def body() -> None:
        async with hosting({"bad": declare("much_on_stderr")}) as host:
            await call(host, "bad", "poke")
            await eventually(lambda: host.statuses()["bad"].stderr_tail.endswith("the end of it"))

            assert len(host.statuses()["bad"].stderr_tail) == 256 * 2**10

    run(body())


def test_older_servers_that_end_at_what_they_do_not_know_are_spoken_to_as_they_expect() -> None:
    async def body() -> None:
        async with hosting({"old": declare("ends_at_unknown_methods")}) as host:
            assert (await call(host, "old", "echo", text="hello")).text == "hello"

    run(body())


def test_a_slow_start_is_waited_for() -> None:
    async def body() -> None:
        async with hosting({"slow": declare("slow_start")}) as host:
            assert (await call(host, "slow", "echo", text="hello")).text == "hello"

    run(body())


class Others:
    """Calls of the server `good`, one after the other."""

    def __init__(self, host: McpHost) -> None:
        self._host = host
        self._is_over = False
        self._calling = asyncio.create_task(self._call())

    async def _call(self) -> list[float]:
        took_s = []
        while not self._is_over:
            began = time.monotonic()
            result = await call(self._host, "good", "echo", text="hello")
            assert result == ToolResult("hello", None, True, 5)
            took_s.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        return took_s

    async def stop(self) -> list[float]:
        """How long each took, in seconds."""
        self._is_over = True
        return await self._calling


def _with_error(host: McpHost, server: str) -> object:
    status = host.statuses()[server]
    return status if status.error is not None else None


def _reset_peak() -> int:
    """Resident bytes now; the peak counts from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _read("VmRSS")


def _peak() -> int:
    return _read("VmHWM")


def _read(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(it for it in lines if it.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
