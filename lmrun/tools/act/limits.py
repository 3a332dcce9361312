"""When a run ends though it is not done: its limits, and what of them is used up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.profile.tooling.agents import AgentConfig, Budgets

_USUAL = Budgets()


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_rounds`: answers of the model; the last one is offered no tools. `parallel_calls`: of
    one round, at a time. The others end the run: `calls` in all, `tokens` that the model writes,
    `time_s` from start to end, without the time that somebody is asked, `identical_calls` of one
    tool with the same arguments, `invalid_calls` in a row."""

    max_rounds: int = 25
    parallel_calls: int = 4
    calls: int = _USUAL.calls
    tokens: int | None = _USUAL.tokens
    time_s: float = _USUAL.time
    identical_calls: int = _USUAL.identical_calls
    invalid_calls: int = _USUAL.invalid_calls

    @staticmethod
    def from_agent(config: AgentConfig) -> Limits:
        """Those that a profile declares for an agent."""
        budgets = config.budgets
        return Limits(
            max_rounds=config.max_rounds,
            parallel_calls=config.parallel_calls,
            calls=budgets.calls,
            tokens=budgets.tokens,
            time_s=budgets.time,
            identical_calls=budgets.identical_calls,
            invalid_calls=budgets.invalid_calls,
        )
