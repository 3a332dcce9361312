"""Agents on a pool without workers: what each round says is the test's, the tools are real."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lmrun.chat.events import ChatEnd, Event, MessageDelta, ToolCallArguments, ToolCallStart, Usage
from lmrun.chat.request import Prompt
from lmrun.profile.presets import Preset
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.naming import matches
from lmrun.profile.tooling.policy import Decision
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.opening import Opening
from lmrun.tools.act.sources import Source, no_sources
from lmrun.tools.policy.gate import Ask, Question, Verdict, Wish
from lmrun.tools.tool import OnProgress, Tool, ToolResult, ToolSpec
from tests.support.stand_in_pool import StandInLease, StandInPool

NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
USAGE = Usage(10, 5, 2)


def say(text: str) -> tuple[Event, ...]:
    """A round that answers."""
    return (MessageDelta(text),)


def call(name: str, arguments: str, *, before: str = "", id: str = "c1") -> tuple[Event, ...]:
    """A round that calls a tool."""
    said = (MessageDelta(before),) if before else ()
    return (*said, ToolCallStart(0, id, name), ToolCallArguments(0, arguments))


class RoundsLease(StandInLease):
    """Says the next of its pool's rounds, and ends it."""

    def __init__(self, pool: RoundsPool, name: str) -> None:
        super().__init__(pool, pool.instances[name])
        self._rounds = pool

    async def generate(
        self, prompt: Prompt, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        pool = self._rounds
        pool.prompts.append(prompt)
        pool.predictions.append(prediction)
        pool.open_generators += 1
        try:
            await pool.reach("prefill")
            for event in pool.rounds.popleft() if pool.rounds else pool.forever:
                yield event
            await pool.reach("mid-stream")
            yield ChatEnd(
                "stopStringFound" if pool.stop_string else "eosFound", USAGE, pool.stop_string
            )
        finally:
            pool.open_generators -= 1


class RoundsPool(StandInPool):
    """`rounds`: what its generations say, one after another; then each says `forever`."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: deque[tuple[Event, ...]] = deque()
        self.forever = say("done")
        self.stop_string: str | None = None

    @asynccontextmanager
    async def acquire(
        self, name: str, *, ttl_s: float | None = None
    ) -> AsyncIterator[StandInLease]:
        async with super().acquire(name, ttl_s=ttl_s) as lease:
            yield RoundsLease(self, lease.instance.spec.identifier)


@dataclass
class Add:
    """Adds; `called` counts. `never`: it does not come back until it is cancelled."""

    policy: Decision = "allow"
    name: str = "add"
    called: int = 0
    cancelled: int = 0
    never: bool = False

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            self.name, self.name, "Adds two numbers.", NUMBERS, self.policy, frozenset()
        )

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        self.called += 1
        if self.never:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return ToolResult(str(arguments["a"] + arguments["b"]))


class SpecGate:
    """What each tool says of itself decides."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        self.wishes.append(wish)
        if wish.tool.policy == "allow":
            return Verdict(True)
        if wish.tool.policy == "deny" or ask is None:
            return Verdict(False, "nobody is there to ask")
        reply = await ask(Question(wish.id, wish.tool.path, None, dict(wish.arguments)))
        return Verdict(reply != "no", "" if reply != "no" else "whoever was asked said no")

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        pass


@dataclass
class FewTools:
    """Those whose path fits."""

    all: Sequence[Tool]
    patterns: Sequence[str]

    async def tools(self) -> Sequence[Tool]:
        return [
            tool
            for tool in self.all
            if any(matches(pattern, tool.spec.path) for pattern in self.patterns)
        ]


def make_agents() -> dict[str, AgentConfig]:
    """`helper` has tools and a preset, `talker` none, `hasty` one round for its tools."""
    return {
        "helper": AgentConfig(model="assistant", preset="curt", tools=("add", "risky")),
        "talker": AgentConfig(model="assistant"),
        "hasty": AgentConfig(model="assistant", tools=("add",), max_rounds=1),
    }


@dataclass
class StandInWorkshop:
    """Tools and agents without a profile's file."""

    add: Add = field(default_factory=Add)
    risky: Add = field(default_factory=lambda: Add("ask", "risky"))
    gate: SpecGate = field(default_factory=SpecGate)
    agents: dict[str, AgentConfig] = field(default_factory=make_agents)

    @property
    def profile(self) -> Profile:
        curt = Preset(
            system_prompt="Be curt.", prediction=PredictionConfig(temperature=0.1, top_k=7)
        )
        return Profile(version=1, presets={"curt": curt}, agents=dict(self.agents))

    def sources(self, opening: Opening) -> Sequence[Source]:
        return no_sources(opening)

    def toolset(self, patterns: Sequence[str]) -> FewTools:
        return FewTools([self.add, self.risky], patterns)
