"""Requests that arrive together begin a few at a time; nobody is forgotten, nobody overtakes."""

from __future__ import annotations

import asyncio

from lmrun.api.http.pace import Pace


def test_a_few_begin_in_each_turn_of_the_loop_in_their_order() -> None:
    async def body() -> list[list[int]]:
        pace, begun = Pace(2), []

        async def enter(number: int) -> None:
            await pace.begin()
            begun.append(number)

        tasks = [asyncio.create_task(enter(number)) for number in range(7)]
        seen: list[list[int]] = []
        async with asyncio.timeout(5):
            while len(begun) < 7:
                before = len(begun)
                await asyncio.sleep(0)
                seen.append(begun[before:])
        await asyncio.gather(*tasks)
        return seen

    seen = asyncio.run(body())
    assert [number for turn in seen for number in turn] == list(range(7))
    assert max(map(len, seen)) == 2


def test_who_gives_up_takes_no_turn() -> None:
    async def body() -> None:
        pace = Pace(1)
        tasks = [asyncio.create_task(pace.begin()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await pace.begin()
            await pace.begin()

    asyncio.run(body())
