"""Unloading: whatever runs or loads comes to an end, also when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import ModelNotReady
from tests.support.instances import (
    ENDLESS,
    ask,
    eventually,
    ignore_progress,
    make_spec,
    open_pool,
    script,
    text_of,
)
from tests.support.server import is_alive

HELLO = script({"pieces": ["Hel", "lo"]})


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 30))


def test_unloading_ends_streams_with_a_typed_error(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, script(ENDLESS))) as pool:
            task = asyncio.create_task(ask(pool, "m", "hi"))
            instance = pool.instances["m"]
            await eventually(lambda: instance.active == 1)
            pid = instance.pid
            assert pid is not None
            await pool.unload("m")
            assert not is_alive(pid)
            assert pool.instances == {}
            with pytest.raises(ModelNotReady, match="being unloaded"):
                await task
            await pool.unload("m")

    run(body())


def test_unloading_ends_a_load(tmp_path: Path) -> None:
    async def body() -> None:
        slow = script({"pieces": ["x"]}, load={"seconds": 20})
        async with open_pool() as pool:
            load = asyncio.create_task(pool.load(make_spec(tmp_path, slow), ignore_progress))
            await eventually(lambda: pool.instances.get("m") and pool.instances["m"].progress)
            await asyncio.gather(pool.unload("m"), pool.unload("m"))
            with pytest.raises(ModelNotReady):
                await load
            assert pool.instances == {}

    run(body())


def test_cancelling_a_load_unloads(tmp_path: Path) -> None:
    async def body() -> None:
        slow = script({"pieces": ["x"]}, load={"seconds": 20})
        async with open_pool() as pool:
            load = asyncio.create_task(pool.load(make_spec(tmp_path, slow), ignore_progress))
            await eventually(lambda: pool.instances.get("m") and pool.instances["m"].progress)
            load.cancel()
            await asyncio.wait({load})
            assert load.cancelled()
            assert pool.instances == {}

    run(body())


def test_cancelling_a_load_again_and_again_ends_it_all_the_same(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script({"pieces": ["x"]}, load={"seconds": 60}))
        async with open_pool() as pool:
            load = asyncio.create_task(pool.load(spec, ignore_progress))
            await eventually(lambda: "m" in pool.instances)
            while not load.done():
                load.cancel()
                await asyncio.sleep(0)
            await pool.unload("m")
            assert not pool.instances

    run(body())


def test_the_last_of_several_wishes_wins(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, HELLO)
        async with open_pool(spec) as pool:
            await asyncio.gather(pool.unload("m"), pool.load(spec, ignore_progress))
            assert text_of(await ask(pool, "m", "hi")) == "Hello"
            ended = await asyncio.gather(
                pool.load(spec, ignore_progress), pool.unload("m"), return_exceptions=True
            )
            assert isinstance(ended[0], ModelNotReady)
            assert pool.instances == {}

    run(body())


def test_a_worker_that_ignores_everything_is_unloaded_all_the_same(tmp_path: Path) -> None:
    async def body() -> None:
        hanging = script({"pieces": ["x"], "hang": {"after": 1}})
        async with open_pool(make_spec(tmp_path, hanging)) as pool:
            task = asyncio.create_task(ask(pool, "m", "hi"))
            instance = pool.instances["m"]
            await eventually(lambda: instance.active == 1)
            started = time.monotonic()
            await pool.unload("m")
            assert 1 < time.monotonic() - started < 4
            with pytest.raises(ModelNotReady):
                await task

    run(body())
