"""An instance is replaced by a new version of itself: no request fails, no stream is cut short."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LmrunError, ModelNotReady, RolledBack
from lmrun.runtime.pool import Pool
from lmrun.runtime.rollouts import Rollout, Way
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from tests.support.instances import (
    ask,
    eventually,
    ignore_progress,
    make_spec,
    open_pool,
    script,
    text_of,
)
from tests.support.server import is_alive

WAYS: tuple[Way, ...] = ("blue_green", "recreate")
ROLLOUTS = int(os.environ.get("LMRUN_ROLLOUTS", "4"))
PACED = {"pieces": ["old"], "repeat": 40, "seconds_per_token": 0.01}
OLD = script(PACED)
NEW = script({"pieces": ["new"]})
BROKEN = {
    "its load": script({"pieces": ["x"]}, load={"error": "no luck"}),
    "its load, by a crash": script({"pieces": ["x"]}, load={"crash": {"signal": 11}}),
    "its first token": script({"pieces": ["x"], "fail": {"after": 0}}),
    "its first token, by a crash": script({"pieces": ["x"], "crash": {"after": 0, "signal": 6}}),
}


def run(body: Coroutine[Any, Any, None], within_s: float = 40.0) -> None:
    asyncio.run(asyncio.wait_for(body, within_s))


def make_version(folder: Path, content: dict[str, Any], name: str = "v2") -> InstanceSpec:
    """Another version of the instance `m`, in a file of its own."""
    (folder / name).mkdir(exist_ok=True)
    return make_spec(folder / name, content)


async def roll_out(pool: Pool, spec: InstanceSpec, way: Way, drain_s: float = 30.0) -> None:
    await pool.roll_out(Rollout(spec, way, drain_s), ignore_progress)


async def begin(pool: Pool) -> asyncio.Task[str]:
    """A stream of the old version that has begun."""
    task = asyncio.create_task(answer(pool))
    await eventually(lambda: pool.instances["m"].active > 0)
    return task


async def answer(pool: Pool) -> str:
    return text_of(await ask(pool, "m", "hi"))


@pytest.mark.parametrize("way", WAYS)
def test_a_running_stream_is_told_to_its_end_and_the_next_one_is_the_new_version(
    tmp_path: Path, way: Way
) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, OLD)) as pool:
            old = pool.instances["m"].pid
            stream = await begin(pool)
            await roll_out(pool, make_version(tmp_path, NEW), way)
            assert await answer(pool) == "new"
            assert await stream == "old" * 40
            assert old is not None
            await eventually(lambda: not is_alive(old))
            await eventually(lambda: not [*pool.rollouts.beside])

    run(body())


def test_the_old_version_answers_until_the_new_one_has_said_its_first_token(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, OLD)) as pool:
            slow = script({"pieces": ["new"], "seconds_before_first": 0.3}, load={"seconds": 0.3})
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, slow), "blue_green"))
            answers = []
            while not task.done():
                answers.append(await answer(pool))
            assert len(answers) > 1
            assert set(answers[:-1]) == {"old" * 40}
            assert await answer(pool) == "new"

    run(body())


def test_requests_wait_while_the_instance_is_created_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, OLD), queue_limit=100) as pool:
            stream = await begin(pool)
            slow = script({"pieces": ["new"]}, load={"seconds": 0.3})
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, slow), "recreate"))
            await eventually(lambda: pool.rollouts.retiring("m"))
            waiting = [asyncio.create_task(answer(pool)) for _ in range(10)]
            await eventually(lambda: pool.instances["m"].in_flight == 10)
            assert await stream == "old" * 40
            await task
            assert [await each for each in waiting] == ["new"] * 10

    run(body())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BROKEN)
def test_a_version_that_fails_is_rolled_back_and_says_why(
    tmp_path: Path, way: Way, what: str
) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, script({"pieces": ["old"]}))) as pool:
            pid = pool.instances["m"].pid
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, BROKEN[what]), way))
            asked = [asyncio.create_task(answer(pool)) for _ in range(5)]
            with pytest.raises(RolledBack, match="new version of 'm' does not work") as caught:
                await task
            assert caught.value.is_disruptive == (way == "recreate")
            assert [await each for each in asked] == ["old"] * 5
            assert await answer(pool) == "old"
            assert (pool.instances["m"].pid == pid) == (way == "blue_green")
            assert [*pool.rollouts.beside] == []

    run(body())


def test_when_neither_version_loads_both_reasons_are_told(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script({"pieces": ["old"]}))
        async with open_pool(spec) as pool:
            spec.path.write_text("gone")
            with pytest.raises(LmrunError, match=r"no luck.* cannot be loaded again: ") as caught:
                await roll_out(pool, make_version(tmp_path, BROKEN["its load"]), "recreate")
            assert not isinstance(caught.value, RolledBack)
            with pytest.raises(ModelNotReady):
                await answer(pool)
            assert pool.instances["m"].state == "failed"

    run(body())


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_outlasts_the_drain_is_ended_with_a_typed_error(
    tmp_path: Path, way: Way
) -> None:
    async def body() -> None:
        endless = script({"pieces": ["old"], "repeat": 100_000, "seconds_per_token": 0.01})
        async with open_pool(make_spec(tmp_path, endless)) as pool:
            stream = await begin(pool)
            await roll_out(pool, make_version(tmp_path, NEW), way, drain_s=0.2)
            with pytest.raises(ModelNotReady, match="being unloaded"):
                await stream
            assert await answer(pool) == "new"

    run(body())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("load_s", [0.0, 20.0], ids=["draining", "loading"])
def test_a_rollout_that_is_given_up_fails_no_request(
    tmp_path: Path, way: Way, load_s: float
) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, OLD)) as pool:
            stream = await begin(pool) if not load_s else None
            wanted = script({"pieces": ["x"]}, load={"seconds": load_s or 20.0})
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, wanted), way))
            await eventually(lambda: is_under_way(pool, way, is_draining=stream is not None))
            asked = asyncio.create_task(answer(pool))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if stream is not None:
                assert await stream == "old" * 40
            elif way == "recreate":
                await pool.load(make_version(tmp_path, OLD, "v3"), ignore_progress)
            assert await asked == "old" * 40
            assert await answer(pool) == "old" * 40

    run(body())


def is_under_way(pool: Pool, way: Way, *, is_draining: bool) -> bool:
    if way == "blue_green":
        arriving = pool.rollouts.arriving("m")
        return arriving is not None and bool(arriving.progress)
    if is_draining:
        return pool.rollouts.retiring("m") is not None
    return bool(pool.instances["m"].progress) and pool.instances["m"].state == "loading"


def test_a_rollout_that_is_given_up_for_good_refuses_those_who_waited(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, OLD)) as pool:
            never = script({"pieces": ["x"]}, load={"seconds": 60})
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, never), "recreate"))
            await eventually(lambda: is_under_way(pool, "recreate", is_draining=False))
            asked = asyncio.create_task(answer(pool))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert pool.instances["m"].state == "stopped"
            await pool.unload("m")
            with pytest.raises(ModelNotReady):
                await asked
            assert pool.instances == {}

    run(body())


@pytest.mark.parametrize("way", WAYS)
def test_closing_in_the_middle_leaves_no_process(tmp_path: Path, way: Way) -> None:
    async def body() -> None:
        pids: list[int] = []
        endless = script({"pieces": ["old"], "repeat": 100_000, "seconds_per_token": 0.01})
        async with open_pool(make_spec(tmp_path, endless)) as pool:
            stream = await begin(pool)
            slow = script({"pieces": ["x"]}, load={"seconds": 20})
            task = asyncio.create_task(roll_out(pool, make_version(tmp_path, slow), way))
            await eventually(lambda: is_under_way(pool, way, is_draining=True))
            pids += [pid for it in pool.instances.values() if (pid := it.pid)]
            pids += [pid for it in pool.rollouts.beside if (pid := it.instance.pid)]
        with pytest.raises(LmrunError):
            await task
        with pytest.raises(ModelNotReady):
            await stream
        assert pids
        assert not any(is_alive(pid) for pid in pids)

    run(body())


def test_requests_that_wait_for_a_restart_are_answered_by_the_version_that_comes_instead(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        crashing = script({"match": "crash", "pieces": ["x"], "crash": {"after": 0, "signal": 9}})
        spec = make_spec(tmp_path, {**crashing, "load": {"seconds": 0.0}})
        async with open_pool(spec) as pool:
            # Its restart takes longer than the test.
            spec.path.write_text('{"replies": [{"pieces": ["y"]}], "load": {"seconds": 30}}')
            with pytest.raises(LmrunError):
                await ask(pool, "m", "crash")
            await eventually(lambda: pool.instances["m"].state == "loading")
            waiting = asyncio.create_task(answer(pool))
            await asyncio.sleep(0)
            await roll_out(pool, make_version(tmp_path, NEW), "blue_green")
            assert await waiting == "new"

    run(body())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_rollout_after_rollout_no_request_fails_and_no_stream_is_cut(
    tmp_path: Path, way: Way
) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, numbered(0)), queue_limit=1000) as pool:
            answers: list[str] = []
            is_done = asyncio.Event()

            async def keep_asking() -> None:
                while not is_done.is_set():
                    answers.append(await answer(pool))

            clients = [asyncio.create_task(keep_asking()) for _ in range(4)]
            await eventually(lambda: answers)
            for number in range(1, ROLLOUTS + 1):
                load = LoadConfig(context_length=100 + number)
                spec = make_version(tmp_path, numbered(number), f"v{number}")
                await roll_out(pool, InstanceSpec(**{**fields(spec), "load": load}), way)
                count = len(answers)
                await eventually(lambda count=count: len(answers) >= count + 2)  # type: ignore[misc]
            is_done.set()
            await asyncio.gather(*clients)
            told = {text: text.split()[0] for text in answers}
            assert all(text == f"{word} " * 20 for text, word in told.items())
            assert set(told.values()) == {f"v{number}" for number in range(ROLLOUTS + 1)}

    run(body(), within_s=590)


def numbered(number: int) -> dict[str, Any]:
    reply = {"pieces": [f"v{number} "], "repeat": 20, "seconds_per_token": 0.005}
    return script(reply)


def fields(spec: InstanceSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in InstanceSpec.__slots__}
