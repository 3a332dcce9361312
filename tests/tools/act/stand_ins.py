"""What a run needs, scripted: a model that says given events, tools that do what a test says, a
gate that decides by each tool's own policy and by taint."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    StopReason,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import ActEnd, ActEvent, Told
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.loop import act
from lmrun.tools.models import Generate
from lmrun.tools.policy.gate import Ask, Question, Verdict, Wish
from lmrun.tools.tool import Caller, OnProgress, Tool, ToolResult, ToolSpec

T = TypeVar("T")

USAGE = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=2)
CALLER = Caller("act")
NUMBERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
ANYTHING: Mapping[str, Any] = {"type": "object"}

Round = Sequence[Event] | Callable[[Request], Iterable[Event]]


def says(text: str, *, reason: StopReason = "eosFound") -> list[Event]:
    """An answer in words."""
    return [MessageDelta(text), ChatEnd(reason, USAGE)]


def calls(
    *wanted: tuple[str, str], text: str = "", reason: StopReason = "toolCalls"
) -> list[Event]:
    """An answer that calls tools, each a name and its arguments."""
    events: list[Event] = [MessageDelta(text)] if text else []
    for index, (name, arguments) in enumerate(wanted):
        events.append(ToolCallStart(index, f"call{index:05}", name))
        half = len(arguments) // 2
        events.append(ToolCallArguments(index, arguments[:half]))
        events.append(ToolCallArguments(index, arguments[half:]))
    return [*events, ChatEnd(reason, USAGE)]


class ScriptedModel:
    """Answers round by round; the last one again and again. `asked`: what it was asked with."""

    def __init__(self, *rounds: Round) -> None:
        self._rounds = rounds
        self.asked: list[Request] = []
        self.predictions: list[PredictionConfig] = []
        self.open = 0
        """Generations that have begun and not ended."""

    async def __call__(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        script = self._rounds[min(len(self.asked), len(self._rounds) - 1)]
        self.asked.append(request)
        self.predictions.append(prediction)
        self.open += 1
        try:
            for event in script if isinstance(script, Sequence) else script(request):
                await asyncio.sleep(0)
                yield event
        finally:
            self.open -= 1

    @property
    def conversation(self) -> tuple[Message, ...]:
        """What it was asked with last."""
        return self.asked[-1].messages


Work = Callable[[Mapping[str, Any]], Awaitable[ToolResult | str]]


@dataclass
class StandInTool:
    """`work`: what a call does. `made`: the arguments of all calls; `open`: those that run."""

    spec: ToolSpec
    work: Work
    made: list[Mapping[str, Any]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        self.made.append(arguments)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            result = await self.work(arguments)
        finally:
            self.open -= 1
        return ToolResult(result) if isinstance(result, str) else result


def make_tool(
    name: str,
    work: Work | None = None,
    *,
    parameters: Mapping[str, Any] = ANYTHING,
    **spec: Any,
) -> StandInTool:
    """A tool that is allowed and does nothing but answer, unless a test says otherwise."""

    async def answer(arguments: Mapping[str, Any]) -> str:
        return f"{name} done"

    spec = {"policy": "allow", "effects": frozenset(), **spec}
    return StandInTool(ToolSpec(name, name, None, parameters, **spec), work or answer)


async def _add(arguments: Mapping[str, Any]) -> str:
    return str(arguments["a"] + arguments["b"])


def make_add(**spec: Any) -> StandInTool:
    """Adds two whole numbers."""
    return make_tool("add", _add, parameters=NUMBERS, **spec)


@dataclass
class StandInToolset:
    """`held`: by round, the last ones again and again."""

    held: Sequence[Sequence[Tool]]
    looks: int = 0

    async def tools(self) -> Sequence[Tool]:
        found = self.held[min(self.looks, len(self.held) - 1)]
        self.looks += 1
        return found


@dataclass
class StandInGate:
    """Allows and denies as each tool says; a tainted wish with effects is asked about."""

    noted: list[tuple[str, bool, ToolResult | None]] = field(default_factory=list)

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        decision = wish.tool.policy
        if decision == "allow" and wish.is_tainted and wish.tool.effects:
            decision = "ask"
        if decision != "ask":
            return Verdict(decision == "allow", "" if decision == "allow" else "not permitted")
        if ask is None:
            return Verdict(False, "nobody is there to ask")
        question = Question(wish.id, wish.tool.path, None, dict(wish.arguments))
        return Verdict(await ask(question) != "no", "somebody said no")

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        self.noted.append((wish.tool.path, verdict.is_allowed, result))


def ask_user(text: str = "Go") -> Request:
    return Request((Message("user", text),))


def start(
    model: Generate,
    *tools: Tool,
    request: Request | None = None,
    limits: Limits | None = None,
    gate: StandInGate | None = None,
    **more: Any,
) -> AsyncGenerator[ActEvent, None]:
    """A run of `model` with `tools`."""
    return act(
        model,
        request or ask_user(),
        more.pop("prediction", PredictionConfig()),
        more.pop("toolset", StandInToolset([tools])),
        gate=gate or StandInGate(),
        caller=CALLER,
        limits=limits or Limits(),
        **more,
    )


async def gather(events: AsyncIterator[T]) -> list[T]:
    """All events."""
    return [event async for event in events]


def run(*given: Any, **more: Any) -> list[ActEvent]:
    """All events of a run."""
    return within(lambda: gather(start(*given, **more)))


def end_of(events: Sequence[Told]) -> ActEnd:
    """The last event, an ActEnd."""
    end = events[-1]
    assert isinstance(end, ActEnd), f"it ended with {end}"
    return end


def within(body: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `body` gives, within ten seconds and without a task left behind."""

    async def bounded() -> T:
        result = await asyncio.wait_for(body(), 10)
        assert_nothing_runs()
        return result

    return asyncio.run(bounded())


def assert_nothing_runs() -> None:
    """No task is left but the one that asks."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


class ScriptedModels:
    """Every model is `model`. `held`: how many are held now."""

    def __init__(self, model: Generate) -> None:
        self._model = model
        self.held = 0

    @asynccontextmanager
    async def open(self, model: str) -> AsyncIterator[Generate]:
        self.held += 1
        try:
            yield self._model
        finally:
            self.held -= 1
