"""What a scenario is: what runs, what is measured, which bars there are. It knows no contender."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import Answer
from benchmarks.contenders.base import TITLES, Contender, Request, Setup
from benchmarks.prompts import make_short_prompt
from benchmarks.results import Bar, Figure, Values

SETTLE_S = 0.1


class Arena:
    """The contenders of a running scenario, those that are left out not among them."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self._contenders = {contender.name: contender for contender in contenders}

    def in_turn(self, repeat: int) -> Iterator[Contender]:
        """All of them; every other repeat goes backwards, for being first or last may matter.

        Each has the machine for itself: what the one before does after its answer comes to its end.
        """
        contenders = list(self._contenders.values())
        for contender in contenders if repeat % 2 == 0 else contenders[::-1]:
            time.sleep(SETTLE_S)
            yield contender

    async def start(self) -> None:
        """All of them, ready and warm. Raises Refused when one cannot do what is asked."""
        for contender in self._contenders.values():
            await contender.start()
            await contender.generate(Request(make_short_prompt("warm-up"), 32))

    async def stop(self) -> None:
        """All of them, whether they were started or not."""
        for contender in self._contenders.values():
            await contender.stop()

    def get(self, name: str) -> Any:
        """The contender of that name. Raises KeyError when it does not take part."""
        return self._contenders[name]


Measure = Callable[[Arena, int], Awaitable[Values]]
"""One repeat, given its number: every contender once. Raises Refused for what is missing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the issue's table. `most_repeats` bounds what takes long.

    `starts_anew`: each repeat has new processes. One keeps the luck of its start to its end: 2 %
    for most, and from 60 to 115 tokens a second for the eight streams of llama_cpp.server.
    """

    name: str
    title: str
    setup: Setup
    contenders: tuple[str, ...]
    figures: tuple[Figure, ...]
    bars: tuple[Bar, ...]
    measure: Measure
    most_repeats: int = 100
    starts_anew: bool = False


def per_contender(
    names: Sequence[str], key: str, title: str, unit: str, *, prefill: bool = True
) -> tuple[Figure, ...]:
    """The same figure of each contender; their keys are `name.key`."""
    return tuple(
        Figure(f"{name}.{key}", f"{TITLES[name]}, {title}", unit, prefill) for name in names
    )


def last_s(answers: Sequence[Answer]) -> float:
    """Seconds from sending until all of the text was there."""
    return max(answer.times[-1] for answer in answers)


def decode_rate(answer: Answer) -> float:
    """Tokens per second after the first; later ones may share a piece of text."""
    return (answer.completion_tokens - 1) / (answer.times[-1] - answer.times[0])


def merge(*parts: Mapping[str, float]) -> Values:
    return {key: value for part in parts for key, value in part.items()}
