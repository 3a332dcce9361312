"""The calls of one round: which tool each means, whether it may be run, and what comes of it.

It knows no model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from lmrun.tools.act.events import ActEvent, ApprovalNeeded, CallProgress
from lmrun.tools.act.journal import Journal
from lmrun.tools.act.outlet import Outlet
from lmrun.tools.act.steps import AskedCall, CallFinished, CallStarted
from lmrun.tools.act.telling import tell_result
from lmrun.tools.arguments import ArgumentFault, check_arguments
from lmrun.tools.calling import calling_for
from lmrun.tools.mcp.deadlines import Deadlines
from lmrun.tools.policy.gate import Ask, Gate, Question, Reply, Verdict, Wish
from lmrun.tools.tool import Caller, Tool, ToolProgress, ToolResult

log = logging.getLogger("lmrun.tools")

MAX_QUOTED_CHARACTERS = 500
MAX_NAMED_TOOLS = 30

UNKNOWN_OUTCOME = ToolResult(
    "The outcome of this call is unknown: lmrun was ended while the tool ran. It may have done "
    "everything, a part, or nothing. Find out before you call it again.",
    error="unknown_outcome",
)


@dataclass(frozen=True, slots=True)
class ValidCall:
    """A call that a tool can be asked with. `was_begun`: lmrun was ended while the tool ran."""

    asked: AskedCall
    tool: Tool
    arguments: Mapping[str, Any]
    was_begun: bool = False


@dataclass(frozen=True, slots=True)
class InvalidCall:
    """A call that no tool can be asked with. `result`: what the model is told."""

    asked: AskedCall
    result: ToolResult


def read_call(
    asked: AskedCall, tools: Sequence[Tool], *, was_begun: bool = False
) -> ValidCall | InvalidCall:
    """What `asked` means among `tools`, which may be others than when it was begun."""
    call = _read(asked, tools)
    if not was_begun:
        return call
    if isinstance(call, InvalidCall):
        return InvalidCall(asked, UNKNOWN_OUTCOME)
    return replace(call, was_begun=True)


def _read(asked: AskedCall, tools: Sequence[Tool]) -> ValidCall | InvalidCall:
    if asked.raw is not None:
        quoted = _quote(asked.raw)
        text = f"This could not be read as a tool call: {quoted} Write the whole call again."
        return InvalidCall(asked, ToolResult(text, error="not_a_call"))
    tool = next((it for it in tools if it.spec.name == asked.name), None)
    if tool is None:
        text = f"There is no tool {_quote(asked.name)}. {_name_tools(tools)}"
        return InvalidCall(asked, ToolResult(text, error="unknown_tool"))
    arguments = check_arguments(asked.arguments, tool.spec.parameters)
    if isinstance(arguments, ArgumentFault):
        text = f"{tool.spec.name} was not called. {arguments.message}"
        return InvalidCall(asked, ToolResult(text, error="invalid_arguments"))
    return ValidCall(asked, tool, arguments)


@dataclass(slots=True)
class Hands:
    """Makes the calls of a run, of one round a few at a time. `ask`: None, where nobody can be
    asked. `clock`: in seconds. `deadlines`: the run's own, which does not run while somebody is
    asked."""

    gate: Gate
    caller: Caller
    ask: Ask | None
    journal: Journal
    outlet: Outlet[ActEvent]
    clock: Callable[[], float]
    places: asyncio.Semaphore
    deadlines: Deadlines = field(default_factory=Deadlines)

    async def make(
        self, number: int, call: ValidCall | InvalidCall, *, is_tainted: bool
    ) -> CallFinished:
        """What comes of a call of round `number`, written down and told."""
        if isinstance(call, InvalidCall):
            result, seconds = call.result, 0.0
        else:
            result, seconds = await self._attempt(number, call, is_tainted)
        finished = CallFinished(number, call.asked.index, result, seconds)
        await self.journal.write(finished)
        await self.outlet.put(tell_result(call.asked, finished))
        return finished

    async def _attempt(
        self, number: int, call: ValidCall, is_tainted: bool
    ) -> tuple[ToolResult, float]:
        """What the tool gives, or why it was not run; and seconds."""
        spec = call.tool.spec
        wish = Wish(call.asked.id, spec, call.arguments, self.caller, is_tainted)
        if call.was_begun and not spec.is_idempotent:
            self.gate.note(wish, Verdict(True), UNKNOWN_OUTCOME, 0.0)
            return UNKNOWN_OUTCOME, 0.0
        verdict = await self.gate.decide(wish, self.make_ask(call.asked.index))
        if not verdict.is_allowed:
            self.gate.note(wish, verdict, None, 0.0)
            return UNKNOWN_OUTCOME if call.was_begun else _deny(verdict), 0.0
        async with self.places:
            denial = verdict.find_denial()
            if denial is not None:
                late = Verdict(False, denial)
                self.gate.note(wish, late, None, 0.0)
                return UNKNOWN_OUTCOME if call.was_begun else _deny(late), 0.0
            await self.journal.write(CallStarted(number, call.asked.index))
            begun = self.clock()
            result: ToolResult | None = None
            try:
                result = await self._run(call)
            finally:
                seconds = self.clock() - begun
                self.gate.note(wish, verdict, result, seconds)
        return result, seconds

    async def _run(self, call: ValidCall) -> ToolResult:
        spec, asked = call.tool.spec, call.asked

        def on_progress(told: ToolProgress) -> None:
            event = CallProgress(asked.index, asked.id, told.progress, told.total, told.message)
            self.outlet.offer(event)

        try:
            with calling_for(self.caller.run):
                result = await call.tool.call(call.arguments, on_progress)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled the run: something within the tool was.
            return ToolResult(f"{spec.name} was stopped.", error="crashed")
        except Exception as error:
            log.exception("%s failed", spec.path)
            text = f"{type(error).__name__}: {error}"[:MAX_QUOTED_CHARACTERS]
            return ToolResult(text, error="failed", is_untrusted=spec.is_untrusted)
        if spec.is_untrusted and not result.is_untrusted:
            result = msgspec.structs.replace(result, is_untrusted=True)
        return result

    def make_ask(self, index: int) -> Ask | None:
        """Asks about the call of `index`, aloud; None where nobody can be asked."""
        ask = self.ask
        if ask is None:
            return None

        async def ask_aloud(question: Question) -> Reply:
            await self.outlet.put(ApprovalNeeded(index, question))
            with self.deadlines.paused():
                return await ask(question)

        return ask_aloud


def _deny(verdict: Verdict) -> ToolResult:
    return ToolResult(f"denied: {verdict.reason}" if verdict.reason else "denied", error="denied")


def _name_tools(tools: Sequence[Tool]) -> str:
    if not tools:
        return "There are no tools; answer without one."
    names = [tool.spec.name for tool in tools]
    rest = f" and {len(names) - MAX_NAMED_TOOLS} more" if len(names) > MAX_NAMED_TOOLS else ""
    return f"Tools: {', '.join(names[:MAX_NAMED_TOOLS])}{rest}."


def _quote(text: str) -> str:
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"
