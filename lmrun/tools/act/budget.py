"""What of a run's limits is used up, and when that is enough. Pure."""

from __future__ import annotations

import json
from collections import Counter

from lmrun.errors import BudgetExceeded
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.steps import AskedCall, Round


class Tally:
    """Counts the calls of a run. `count` raises BudgetExceeded for the one that is too many."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls = 0
        self._invalid_in_a_row = 0
        self._alike: Counter[tuple[str, str]] = Counter()

    def count(self, call: AskedCall, *, is_invalid: bool) -> None:
        """One more call, in the order in which they are asked for. `is_invalid`: no tool can be
        asked with it."""
        limits = self._limits
        self._calls += 1
        if self._calls > limits.calls:
            raise _exceeded("calls", f"{limits.calls} tool calls were made")
        self._invalid_in_a_row = self._invalid_in_a_row + 1 if is_invalid else 0
        if self._invalid_in_a_row > limits.invalid_calls:
            raise _exceeded(
                "invalid_calls",
                f"the model asked for {self._invalid_in_a_row} calls in a row that no tool can "
                f"take, the last one of {call.name[:80]!r}",
            )
        key = (call.name, _canonical(call.arguments))
        self._alike[key] += 1
        if self._alike[key] > limits.identical_calls:
            raise _exceeded(
                "identical_calls",
                f"the model asked for {call.name[:80]!r} with the same arguments "
                f"{self._alike[key]} times",
            )

    def count_again(self, made: Round) -> None:
        """The calls of a complete round that was counted before lmrun was ended."""
        for call in made.answer.to_make:
            self.count(call, is_invalid=made.was_invalid(call))


def last_round_called(limits: Limits) -> BudgetExceeded:
    """The model asked for a call in the round in which it was offered no tools."""
    return _exceeded("max_rounds", f"{limits.max_rounds} rounds have not led to an answer")


def out_of_time(limits: Limits) -> BudgetExceeded:
    """It has taken too long."""
    return _exceeded("time", f"{limits.time_s:g} s have not led to an answer")


def require_tokens(limits: Limits, written: int) -> None:
    """Raise BudgetExceeded unless the model, who has `written` so many tokens, may write more."""
    if limits.tokens is not None and written >= limits.tokens:
        raise _exceeded("tokens", f"the model has written {written} tokens")


def cap_tokens(prediction: PredictionConfig, limits: Limits, written: int) -> PredictionConfig:
    """`prediction` for the next answer. Where it chooses its longest answer itself, that stays
    within the budget; a model's own choice is not known here, and only what comes of it counts."""
    if limits.tokens is None or "max_tokens" not in prediction.model_fields_set:
        return prediction
    left = limits.tokens - written
    if 0 <= prediction.max_tokens <= left:
        return prediction
    return prediction.overlay(PredictionConfig(max_tokens=left))


def _exceeded(budget: str, what: str) -> BudgetExceeded:
    return BudgetExceeded(
        f"The run has ended before it was done: {what}.",
        budget=budget,
        hint=f"Give a smaller task, or raise `{budget}`.",
    )


def _canonical(arguments: str) -> str:
    """The same text for the same arguments."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
