"""Room in memory with real workers and a clock of the test's own: who leaves, when, and never
under a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.messages import RawPrompt
from lmrun.errors import LmrunError, MemoryFull, ModelNotFound, ModelTooLarge, QueueFull
from lmrun.runtime.process.memory import ProcessMemory
from lmrun.runtime.residency.residency import Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig
from tests.runtime.residency.stage import JIT, Stage, opened
from tests.support.instances import (
    ENDLESS,
    ask,
    eventually,
    script,
    text_of,
)


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 30))


def test_a_model_that_is_used_never_expires(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path)
        stage.add("m")
        async with opened(stage) as pool:
            await ask(pool, "m", "hi")
            stage.now_s += 59
            await stage.keeper.look()
            assert stage.loaded == ["m"]
            # Use begins the time anew, at its end.
            async with pool.acquire("m"):
                stage.now_s += 600
                await stage.keeper.look()
                assert pool.residents.idle_s("m") is None
                assert pool.residents.seconds_to_next_expiry() is None
            stage.now_s += 59
            await stage.keeper.look()
            assert stage.loaded == ["m"]
            assert pool.residents.seconds_to_next_expiry() == 1
            stage.now_s += 1
            await stage.keeper.look()
            assert stage.loaded == []

    run(body())


@pytest.mark.parametrize(
    ("residency", "ttl_s", "limit_s"),
    [
        (JIT, None, 60),
        (JIT, 5, 5),
        (Residency("jit", ttl_s=60, is_pinned=True), 5, None),
        (Residency("declared", ttl_s=60), 5, None),
        (Residency("hand", ttl_s=60), None, None),
        (Residency("hand", ttl_s=60), 5, 5),
    ],
)
def test_how_long_one_may_be_idle(
    tmp_path: Path, residency: Residency, ttl_s: float | None, limit_s: float | None
) -> None:
    async def body() -> None:
        stage = Stage(tmp_path)
        stage.add("m", residency=residency)
        async with opened(stage) as pool:
            async with pool.acquire("m", ttl_s=ttl_s):
                pass
            # A later request changes nothing.
            async with pool.acquire("m", ttl_s=1):
                pass
            stage.now_s += (limit_s or 10_000) - 0.5
            await stage.keeper.look()
            assert stage.loaded == ["m"]
            stage.now_s += 1
            await stage.keeper.look()
            assert stage.loaded == ([] if limit_s else ["m"])

    run(body())


def test_a_request_that_meets_its_model_on_the_way_out_loads_it_again(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path)
        stage.add("m")
        async with opened(stage) as pool:
            await ask(pool, "m", "hi")
            pid = pool.instances["m"].pid
            leaving = asyncio.create_task(pool.residents.leave("m"))
            await eventually(lambda: pool.instances["m"].state == "unloading")
            answers = await asyncio.gather(*(ask(pool, "m", "hi") for _ in range(20)))
            await leaving
            assert {text_of(events) for events in answers} == {"Hello"}
            assert pool.instances["m"].pid != pid
            assert stage.loads == ["m", "m"]

    run(body())


def test_a_hundred_first_requests_load_once(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, queue_limit=100)
        stage.add("m")
        async with opened(stage) as pool:
            answers = await asyncio.gather(*(ask(pool, "m", "hi") for _ in range(100)))
            assert {text_of(events) for events in answers} == {"Hello"}
            assert stage.loads == ["m"]
            assert pool.residents.waiting_for("m") == 0

    run(body())


def test_all_who_wait_hear_the_same_failure_and_the_line_has_an_end(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, queue_limit=3)
        stage.add("m", content=script({"pieces": ["x"]}, load={"error": "no luck", "seconds": 0.2}))
        async with opened(stage) as pool:
            tasks = [asyncio.create_task(ask(pool, "m", "hi")) for _ in range(4)]
            await eventually(lambda: pool.residents.waiting_for("m") == 4)
            with pytest.raises(QueueFull, match="4 requests"):
                await pool._bring("m", None)
            failures = await asyncio.gather(*tasks, return_exceptions=True)
            assert {str(failure).partition(": ")[2] for failure in failures} == {"no luck"}
            with pytest.raises(ModelNotFound):
                await ask(pool, "other", "hi")
            assert pool.residents.claimed_bytes == 0

    run(body())


def test_nobody_is_evicted_under_a_stream_and_who_needs_the_room_waits(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("streaming", 8, script(ENDLESS))
        stage.add("next", 8)
        async with opened(stage) as pool:
            said = asyncio.Event()
            end = asyncio.Event()

            async def stream() -> int:
                count = 0
                async with pool.acquire("streaming") as lease:
                    events = lease.generate(RawPrompt("hi"), PredictionConfig(max_tokens=10**6))
                    async for _ in events:
                        count += 1
                        said.set()
                        if end.is_set():
                            break
                    await events.aclose()
                return count

            streaming = asyncio.create_task(stream())
            await said.wait()
            pid = pool.instances["streaming"].pid
            waiting = asyncio.create_task(ask(pool, "next", "hi"))
            await eventually(lambda: stage.loads == ["streaming", "next"])
            late = asyncio.create_task(ask(pool, "streaming", "hi", max_tokens=1))
            await eventually(lambda: pool.instances["streaming"].in_flight == 2)
            for _ in range(20):
                await asyncio.sleep(0.01)
                assert pool.instances["streaming"].pid == pid
                assert pool.instances["streaming"].state == "ready"
                assert "next" not in pool.instances
            end.set()
            assert await streaming > 5
            assert text_of(await waiting) == "Hello"
            # Whoever came later had to wait for its turn in memory, and got it.
            assert text_of(await late) == "tick "
            assert stage.loads == ["streaming", "next", "streaming"]

    run(body())


def test_who_fits_is_not_kept_waiting_by_who_does_not(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=20)
        for name, size in (("busy", 10), ("large", 15), ("small", 5)):
            stage.add(name, size)
        async with opened(stage) as pool:
            async with pool.acquire("busy"):
                large = asyncio.create_task(ask(pool, "large", "hi"))
                await eventually(lambda: stage.loads == ["busy", "large"])
                small = asyncio.create_task(ask(pool, "small", "hi"))
                assert text_of(await asyncio.wait_for(small, 10)) == "Hello"
                assert not large.done()
            assert text_of(await large) == "Hello"
            assert stage.loaded == ["large", "small"]

    run(body())


def test_what_stays_is_not_evicted(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("declared", 3, residency=Residency())
        stage.add("hand", 3, residency=Residency("hand"))
        stage.add("pinned", 3, residency=Residency("jit", is_pinned=True))
        stage.add("new", 2)
        stage.add("huge", 11)
        async with opened(stage) as pool:
            for name in ("declared", "hand", "pinned"):
                await stage.load(name)
            with pytest.raises(MemoryFull, match="more than can be made free") as caught:
                await ask(pool, "new", "hi")
            assert not isinstance(caught.value, ModelTooLarge)
            assert caught.value.retry_after_s == 10
            with pytest.raises(ModelTooLarge) as hopeless:
                await ask(pool, "huge", "hi")
            assert hopeless.value.retry_after_s is None
            assert stage.loaded == ["declared", "hand", "pinned"]
            await pool.unload("hand")
            assert text_of(await ask(pool, "new", "hi")) == "Hello"

    run(body())


def test_a_declared_model_takes_the_room_of_what_requests_loaded(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("jit", 8)
        stage.add("declared", 8, residency=Residency())
        async with opened(stage) as pool:
            await ask(pool, "jit", "hi")
            await stage.load("declared")
            assert stage.loaded == ["declared"]
            with pytest.raises(MemoryFull):
                await ask(pool, "jit", "hi")

    run(body())


def test_the_least_recently_used_one_leaves(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        for name in ("a", "b", "c", "new"):
            stage.add(name, 3)
        async with opened(stage) as pool:
            for name in ("a", "b", "c", "a"):
                stage.now_s += 1
                await ask(pool, name, "hi")
            await ask(pool, "new", "hi")
            assert stage.loaded == ["a", "c", "new"]

    run(body())


def test_a_failed_load_gives_its_room_back(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("broken", 8, script({"pieces": ["x"]}, load={"error": "no luck"}))
        stage.add("m", 8)
        async with opened(stage) as pool:
            with pytest.raises(LmrunError, match="no luck"):
                await ask(pool, "broken", "hi")
            assert text_of(await ask(pool, "m", "hi")) == "Hello"

    run(body())


def test_a_measure_corrects_the_estimate_once_it_has_worked(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=100)
        stage.add("m", 10)
        stage.add("other", 10)
        seen: list[tuple[str, int]] = []

        class Ledger:
            def note_memory(self, spec: InstanceSpec, memory_bytes: int) -> None:
                seen.append((spec.identifier, memory_bytes))

        held = ProcessMemory(4, 3)
        stage.keeper.ledger = Ledger()
        stage.keeper.read = lambda pid: held
        async with opened(stage) as pool:
            await stage.load("m")
            await eventually(lambda: pool.instances["m"].usage is not None)
            await stage.keeper.look()
            # Pages come with use: less than was estimated says nothing yet.
            assert (pool.residents.claimed_bytes, seen) == (13, [])
            await ask(pool, "m", "hi")
            await stage.keeper.look()
            await stage.keeper.look()
            assert (pool.residents.claimed_bytes, seen) == (7, [("m", 7)])
            held = ProcessMemory(60, 3)
            await stage.keeper.look()
            assert (pool.residents.claimed_bytes, seen) == (63, [("m", 7), ("m", 63)])
            # More than there is, all together: whoever is idle goes.
            held = ProcessMemory(600, 3)
            await stage.keeper.look()
            await eventually(lambda: stage.loaded == [])

    run(body())


def test_one_at_a_time_waits_for_the_one_before(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, policy="one")
        for name in "ab":
            stage.add(name)
        stage.add("declared", residency=Residency())
        async with opened(stage) as pool:
            await stage.load("declared")
            async with pool.acquire("a"):
                other = asyncio.create_task(ask(pool, "b", "hi"))
                await eventually(lambda: stage.loads == ["a", "b"])
                assert stage.loaded == ["a", "declared"]
            assert text_of(await other) == "Hello"
            assert stage.loaded == ["b", "declared"]

    run(body())


def test_two_that_need_each_other_s_room_take_turns(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("a", 8)
        stage.add("b", 8)
        async with opened(stage) as pool:
            asks = [ask(pool, name, "hi") for _ in range(5) for name in ("a", "b")]
            answers = await asyncio.gather(*asks)
            assert [text_of(events) for events in answers] == ["Hello"] * 10

    run(body())


def test_room_that_nobody_came_for_is_given_back(tmp_path: Path) -> None:
    async def body() -> None:
        stage = Stage(tmp_path, limit=10)
        stage.add("given up", 8)
        stage.add("m", 8)
        async with opened(stage) as pool:
            await pool.make_room(stage.specs["given up"])
            assert pool.residents.claimed_bytes == 8
            pool.give_room_back("given up")
            assert pool.residents.claimed_bytes == 0
            await stage.load("m")
            pool.give_room_back("m")
            assert pool.residents.claimed_bytes == 8

    run(body())
