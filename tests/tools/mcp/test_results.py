"""What a model reads of what servers answer."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from tests.tools.mcp.support import (
    call,
    call_with_progress,
    declare,
    eventually,
    find,
    hosting,
    run,
)


@pytest.mark.parametrize(
    ("behaviour", "text", "error"),
    [
        (
            "pictures_and_sounds",
            "Look:\n[an image, image/png, 3 bytes]\n[a sound, audio/wav, 6 bytes]\n"
            "[the resource a: file:///a.txt]\nthe text of b\n"
            "[the resource file:///c.bin, of no known type, 3 bytes]",
            None,
        ),
        ("structured_only", '{"temperature":21}', None),
        ("tool_error", "that went wrong", "failed"),
    ],
)
def test_a_result_is_text(behaviour: str, text: str, error: str | None) -> None:
    async def body() -> None:
        async with hosting({"s": declare(behaviour)}) as host:
            result = await call(host, "s", "poke")

            assert (result.text, result.error, result.is_untrusted) == (text, error, True)

    run(body())


def test_of_a_long_result_beginning_and_end_are_kept() -> None:
    async def body() -> None:
        async with hosting({"s": declare("long_result", max_output="1KiB")}) as host:
            result = await call(host, "s", "poke")

            assert result.size == 1_000_008
            assert result.text.startswith("begin")
            assert result.text.endswith("end")
            assert len(result.text) <= 1024

    run(body())


def test_results_of_a_server_that_is_trusted_hold_no_instructions() -> None:
    async def body() -> None:
        async with hosting({"s": declare(untrusted=False)}) as host:
            assert not (await call(host, "s", "echo", text="hello")).is_untrusted

    run(body())


def test_progress_is_passed_on() -> None:
    async def body() -> None:
        async with hosting({"s": declare("progress")}) as host:
            result, seen = await call_with_progress(await find(host, "s", "poke"))

            assert result.text == "done"
            assert [(it.progress, it.total, it.message) for it in seen] == [(1, 2, "half way")]

    run(body())


def test_endless_progress_is_passed_on_in_bounds() -> None:
    async def body() -> None:
        async with hosting({"s": declare("endless_progress", timeout="0.5s")}) as host:
            result, seen = await call_with_progress(await find(host, "s", "poke"))

            assert result.error == "timeout"
            assert 2 <= len(seen) <= 15
            assert len(seen[0].message or "") == 300

    run(body())


def test_what_a_server_wants_logged_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "lmrun.mcp.s")

    async def body() -> None:
        async with hosting({"s": declare("logs")}) as host:
            await call(host, "s", "poke")
            await eventually(lambda: len(caplog.records) == 3)

    run(body())

    levels = [it.levelname for it in caplog.records]
    assert levels == ["DEBUG", "WARNING", "ERROR"]
    for record in caplog.records:
        text = record.getMessage()
        assert len(text) == 1000
        assert text.startswith(("debug said[31mx", "warning said[31mx", "emergency said[31mx")), (
            text
        )


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_older_revision_is_spoken(version: str) -> None:
    async def body() -> None:
        async with hosting({"s": declare(version)}) as host:
            assert (await call(host, "s", "echo", text="hello")).text == "hello"
            assert host.statuses()["s"].protocol_version == version

    run(body())


@pytest.mark.parametrize("behaviour", ["silence", "reads_nothing"])
def test_a_call_that_is_cancelled_is_over_at_once(behaviour: str) -> None:
    async def body() -> None:
        async with hosting({"s": declare(behaviour, timeout="60s")}) as host:
            poke = await find(host, "s", "poke")
            calling = asyncio.create_task(poke.call({"a": "x" * 500_000}, lambda progress: None))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            calling.cancel()
            await asyncio.wait({calling})

            assert calling.cancelled()
            assert time.monotonic() - began < 1.0

    run(body())


@pytest.mark.parametrize("by", ["timeout", "cancel"])
def test_a_server_is_told_that_nobody_waits_any_longer(by: str) -> None:
    async def body() -> None:
        timeout = "0.2s" if by == "timeout" else "20s"
        async with hosting({"s": declare("silence", timeout=timeout)}) as host:
            calling = asyncio.create_task(call(host, "s", "poke"))
            await eventually(lambda: host.statuses()["s"].state == "ready")
            if by == "cancel":
                await asyncio.sleep(0.1)
                calling.cancel()
            await asyncio.wait({calling})

            seen = await call(host, "s", "seen")
            assert '"cancelled": []' not in seen.text
            assert calling.cancelled() == (by == "cancel")

    run(body())
