"""What was measured, and whether a bar is met. Pure: it knows no scenario, no clock, no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Values = Mapping[str, float]
"""What one repeat of a scenario gave, by figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a scenario measures. `prefill`: whether processing the prompt counts."""

    key: str
    title: str
    unit: str
    prefill: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """What `figure` must be, absolutely or, with `against`, as a ratio within each repeat.

    Just one of `at_least` and `at_most` is set, or neither: then the ratio is only shown.
    """

    figure: str
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    def is_met(self, value: float) -> bool:
        """True also for a bar without a limit."""
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar, and the median of what was measured for it."""

    bar: Bar
    value: float

    @property
    def is_met(self) -> bool:
        return self.bar.is_met(self.value)


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario's repeats. `setup`: flash attention, context, pool and threads in words.

    `disturbance`: the largest share of the machine that others took in one of the repeats.
    `unavailable`: why it could not be measured; then there are no repeats.
    """

    name: str
    title: str
    setup: str
    figures: Sequence[Figure] = ()
    bars: Sequence[Bar] = ()
    repeats: Sequence[Values] = field(default_factory=list)
    disturbance: float = 0.0
    unavailable: str = ""

    def values_of(self, figure: str) -> list[float]:
        return [repeat[figure] for repeat in self.repeats if figure in repeat]

    def median_of(self, figure: str) -> float | None:
        """None when no contender gave it."""
        values = self.values_of(figure)
        return median(values) if values else None

    def judge(self) -> list[Verdict]:
        """One verdict for each bar whose figures were measured."""
        judged = ((bar, self._observe(bar)) for bar in self.bars)
        return [Verdict(bar, median(values)) for bar, values in judged if values]

    def _observe(self, bar: Bar) -> list[float]:
        """What each repeat says about `bar`."""
        if not bar.against:
            return self.values_of(bar.figure)
        return [
            repeat[bar.figure] / repeat[bar.against]
            for repeat in self.repeats
            if bar.figure in repeat and repeat.get(bar.against)
        ]
