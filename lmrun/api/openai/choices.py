"""All choices of one request: one generation each, their events interleaved as they come.

It knows no format and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from lmrun.api.serving import Generating
from lmrun.chat.events import Event
from lmrun.chat.request import Prompt
from lmrun.errors import RequestError
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig

_SEEDS = 2**32


async def generate_choices(
    lease: Generating, prompts: Sequence[Prompt], prediction: PredictionConfig, count: int
) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of `count` generations of each prompt, each with the index of its choice: those
    of the first prompt come first. What is said to one prompt does not depend on the others.

    The first failure ends them all, and says which prompt it was; so does closing the iterator.
    """
    predictions = vary(prediction, lease.instance.spec, count)
    streams = [lease.generate(prompt, each) for prompt in prompts for each in predictions]
    if len(prompts) > 1:
        streams = [
            _locate(stream, f"prompt[{number // count}]") for number, stream in enumerate(streams)
        ]
    if len(streams) == 1:
        async with aclosing(streams[0]) as events:
            async for event in events:
                yield 0, event
        return
    async with aclosing(_interleave(streams)) as merged:
        async for pair in merged:
            yield pair


def vary(
    prediction: PredictionConfig, spec: InstanceSpec, count: int
) -> tuple[PredictionConfig, ...]:
    """One config per choice. With a seed, of the request or the instance, choice i has seed + i:
    the answer is repeatable, and the choices differ."""
    seed = next(
        (
            seed
            for seed in (prediction.seed, spec.prediction.seed, spec.load.seed)
            if seed is not None
        ),
        None,
    )
    if seed is None or count == 1:
        return (prediction,) * count
    return tuple(
        prediction.overlay(PredictionConfig(seed=(seed + index) % _SEEDS)) for index in range(count)
    )


async def _locate(stream: AsyncGenerator[Event, None], where: str) -> AsyncGenerator[Event, None]:
    """The same events; an error about the prompt says which one."""
    async with aclosing(stream) as events:
        try:
            async for event in events:
                yield event
        except RequestError as error:
            if error.param == "prompt":
                error.param = where
            raise


async def _interleave(
    streams: Sequence[AsyncGenerator[Event, None]],
) -> AsyncGenerator[tuple[int, Event], None]:
    """Whatever comes first, of whichever stream; the reader's pace is everybody's."""
    waiting = {_begin(stream): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                event = task.result()
                index = waiting.pop(task)
                if event is not None:
                    waiting[_begin(streams[index])] = index
                    yield index, event
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


def _begin(stream: AsyncGenerator[Event, None]) -> asyncio.Future[Event | None]:
    """Wait for the next event; None is the end."""
    return asyncio.ensure_future(anext(stream, None))
