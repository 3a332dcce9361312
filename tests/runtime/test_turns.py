"""Whose turn it is: by class, then by arrival; nobody who leaves takes a turn along."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from lmrun.runtime.turns import Priority, Turns, current_priority, lower, prioritized
from tests.support.instances import eventually


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 10))


class Stage:
    """Tasks that take turns, and in which order they got them."""

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self.now_s = 0.0
        self.turns = Turns(lambda: self.places, lambda: self.now_s)
        self.order: list[str] = []
        self.may_end: dict[str, asyncio.Event] = {}

    async def enter(self, name: str, priority: Priority = "normal") -> asyncio.Task[None]:
        """A task that has its turn, or waits in the line."""
        end = self.may_end[name] = asyncio.Event()
        before = len(self.order) + self.turns.waiting

        async def play() -> None:
            async with self.turns.turn(priority):
                self.order.append(name)
                await end.wait()

        task = asyncio.create_task(play())
        await eventually(lambda: len(self.order) + self.turns.waiting > before)
        return task

    async def end(self, name: str) -> None:
        count = len(self.order)
        had_line = self.turns.waiting > 0
        self.may_end[name].set()
        if had_line:
            await eventually(lambda: len(self.order) > count)


def test_the_first_class_goes_first_and_within_one_who_came_first() -> None:
    async def body() -> None:
        stage = Stage()
        tasks = [await stage.enter("running")]
        for name, priority in (("l", "low"), ("n1", "normal"), ("h", "high"), ("n2", "normal")):
            tasks.append(await stage.enter(name, priority))  # type: ignore[arg-type]
        assert [it.priority for it in stage.turns.line] == ["high", "normal", "normal", "low"]
        for name in ("running", "h", "n1", "n2", "l"):
            await stage.end(name)
        await asyncio.gather(*tasks)
        assert stage.order == ["running", "h", "n1", "n2", "l"]

    run(body())


def test_as_many_go_at_a_time_as_there_are_places() -> None:
    async def body() -> None:
        stage = Stage(places=2)
        tasks = [await stage.enter(name) for name in "abc"]
        assert stage.order == ["a", "b"]
        stage.now_s = 1.5
        (waiting,) = stage.turns.line
        assert stage.turns.waited_s(waiting) == 1.5
        await stage.end("b")
        assert stage.order == ["a", "b", "c"]
        for name in "ac":
            await stage.end(name)
        await asyncio.gather(*tasks)

    run(body())


def test_places_that_are_added_are_given_to_the_next_who_asks_or_ends() -> None:
    async def body() -> None:
        stage = Stage()
        tasks = [await stage.enter(name) for name in "ab"]
        stage.places = 3
        tasks.append(await stage.enter("c"))
        await eventually(lambda: sorted(stage.order) == ["a", "b", "c"])
        for name in "abc":
            stage.may_end[name].set()
        await asyncio.gather(*tasks)

    run(body())


@pytest.mark.parametrize("is_called", [False, True])
def test_who_leaves_the_line_takes_no_turn_along(is_called: bool) -> None:
    async def body() -> None:
        stage = Stage()
        first = await stage.enter("first")
        leaving, last = await stage.enter("leaving"), await stage.enter("last")
        if is_called:
            # Both in the same turn of the loop: it is called, and leaves before it notices.
            stage.may_end["first"].set()
            first.add_done_callback(lambda _: leaving.cancel())
        else:
            leaving.cancel()
        await asyncio.wait({leaving})
        stage.may_end["first"].set()
        await eventually(lambda: "last" in stage.order)
        stage.may_end["last"].set()
        stage.may_end["leaving"].set()
        await asyncio.gather(first, last)
        assert stage.turns.waiting == 0
        # Every place is free again.
        async with asyncio.timeout(1), stage.turns.turn("low"):
            pass

    run(body())


def test_a_request_has_its_class_in_all_tasks_that_it_starts() -> None:
    async def body() -> None:
        async def look() -> Priority:
            return current_priority()

        with prioritized("low"):
            task = asyncio.create_task(look())
        assert await task == "low"
        assert current_priority() == "normal"

    run(body())


def test_the_lower_of_two_classes_goes_later() -> None:
    assert lower("high", "normal") == lower("normal", "high") == "normal"
    assert lower("low", "high") == "low"


def test_all_that_leave_together_leave_no_turn_taken() -> None:
    """As when one of a request's choices fails: its other ones end at once, running or waiting."""

    async def body() -> None:
        turns = Turns(lambda: 2)
        for _ in range(3):
            tasks = [asyncio.create_task(_hold(turns)) for _ in range(8)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5), turns.turn("normal"), turns.turn("normal"):
            assert turns.waiting == 0

    asyncio.run(body())


async def _hold(turns: Turns) -> None:
    async with turns.turn("normal"):
        await asyncio.Event().wait()
