"""The act loop: ask the model, run the tools that it calls, tell it the results, until it answers.

It knows neither what serves the model nor any tool; what it has done is its transcript.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from lmrun.chat.messages import Tool as ChatTool
from lmrun.chat.request import Request, ToolChoice
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.budget import Tally, cap_tokens, last_round_called, out_of_time, require_tokens
from lmrun.tools.act.calls import Hands, InvalidCall, ValidCall, read_call
from lmrun.tools.act.events import ActEvent, RoundEnd, RoundStart
from lmrun.tools.act.hearing import hear
from lmrun.tools.act.journal import Journal, NoJournal
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.opening import placing_images
from lmrun.tools.act.outlet import Outlet
from lmrun.tools.act.sources import Source, read_sources
from lmrun.tools.act.steps import CallFinished, Round, Step, Transcript
from lmrun.tools.act.telling import tell_end, tell_unmade
from lmrun.tools.calling import calling_for
from lmrun.tools.models import Generate
from lmrun.tools.policy.gate import Ask, Gate
from lmrun.tools.tool import Caller, Tool, Toolset, ToolSpec

__all__ = ["Limits", "act", "to_chat_tool"]


def act(
    generate: Generate,
    request: Request,
    prediction: PredictionConfig,
    toolset: Toolset,
    *,
    gate: Gate,
    caller: Caller,
    limits: Limits,
    ask: Ask | None = None,
    journal: Journal | None = None,
    clock: Callable[[], float] = time.monotonic,
    begun: Sequence[Step] = (),
    sources: Callable[[], Sequence[Source]] = tuple,
) -> AsyncGenerator[ActEvent, None]:
    """The events of a run; the last one is its ActEnd.

    Each round the model is asked with what `toolset` holds by then, and the calls of its answer
    are run as far as `gate` lets them; the last permitted round is offered no tools. `request`
    brings no tools of its own; a choice among tools that it makes is that of the first round.
    Results that are in its messages count as content from elsewhere. `ask`: None where nobody can
    be asked. `journal`: is told each step before what follows from it. `begun`: the steps of an
    earlier process, after which the run goes on; calls that had finished are not made again.
    `sources`: what is read before the first round, unless it was; it is part of the conversation,
    and what comes from elsewhere counts as such from the beginning.

    Closing the generator cancels model and tools, and waits until they have stopped. It raises
    BudgetExceeded when a limit ends the run, and what `generate` and `journal` raise; then calls
    that were asked for may be left without an event that says what came of them; and what `sources`
    and reading them raise. `act` itself
    raises InvalidParameter and UnsupportedParameter for what no run can honour.
    """
    _check(request, limits)
    outlet: Outlet[ActEvent] = Outlet()
    hands = Hands(
        gate=gate,
        caller=caller,
        ask=ask,
        journal=journal or NoJournal(),
        outlet=outlet,
        clock=clock,
        places=asyncio.Semaphore(limits.parallel_calls),
    )
    transcript = Transcript(request.messages, begun)
    run = _Run(generate, request, prediction, toolset, limits, hands, transcript, sources)
    return outlet.read(run.run)


def to_chat_tool(spec: ToolSpec) -> ChatTool:
    """A tool as models are told of it."""
    return ChatTool(spec.name, spec.description, dict(spec.parameters))


def _check(request: Request, limits: Limits) -> None:
    if request.tools:
        raise UnsupportedParameter(
            "A run has the tools of its toolset; the request cannot bring further ones.",
            param="tools",
        )
    if request.tool_choice.mode == "required" and limits.max_rounds < 2:
        raise InvalidParameter(
            "A tool must be called, but the only round is offered none.",
            param="tool_choice",
            hint="Give at least two rounds.",
        )


@dataclass(slots=True)
class _Run:
    """A run under way."""

    generate: Generate
    request: Request
    prediction: PredictionConfig
    toolset: Toolset
    limits: Limits
    hands: Hands
    transcript: Transcript
    sources: Callable[[], Sequence[Source]]

    async def run(self) -> None:
        """To its end. Raises BudgetExceeded, and what the model and the journal raise."""
        left_s = self.limits.time_s - self.transcript.elapsed_s
        started = self.hands.clock() - self.transcript.elapsed_s
        try:
            async with self.hands.deadlines.within(left_s) as deadline:
                await self._go_on(started)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise out_of_time(self.limits) from None

    async def _go_on(self, started: float) -> None:
        rounds = self.transcript.rounds
        if not rounds:
            await self._open()
        tally = Tally(self.limits)
        for made in rounds:
            if made.is_complete:
                tally.count_again(made)
        while not (rounds and not rounds[-1].answer.to_make):
            tools = await self.toolset.tools()
            if not rounds or rounds[-1].is_complete:
                await self._ask(tools, started)
            await self._make_calls(rounds[-1], tools, tally)
            answer = rounds[-1].answer
            await self.hands.outlet.put(RoundEnd(answer.round, answer.usage))
        await self.hands.outlet.put(tell_end(self.transcript))

    async def _open(self) -> None:
        """Read what comes before the first round."""
        sources = () if self.transcript.opened is not None else self.sources()
        if not sources:
            return
        with calling_for(self.hands.caller.run):
            opened = await read_sources(
                sources,
                self.transcript.request,
                gate=self.hands.gate,
                caller=self.hands.caller,
                clock=self.hands.clock,
                make_ask=self.hands.make_ask,
            )
        await self.hands.journal.write(opened)
        self.transcript.take(opened)

    async def _ask(self, tools: Sequence[Tool], started: float) -> None:
        """The next answer of the model."""
        number = len(self.transcript.rounds)
        written = self.transcript.usage.completion_tokens
        require_tokens(self.limits, written)
        is_last = number == self.limits.max_rounds - 1
        await self.hands.outlet.put(RoundStart(number, is_last))
        request = replace(
            self.request,
            messages=self.transcript.messages,
            tools=() if is_last else tuple(to_chat_tool(tool.spec) for tool in tools),
            tool_choice=self._choose(number),
        )
        prediction = cap_tokens(self.prediction, self.limits, written)
        with placing_images(self.request.messages, request.messages):
            async with aclosing(self.generate(request, prediction)) as events:
                heard = await hear(events, self.hands.outlet, offers_tools=not is_last)
        elapsed_s = self.hands.clock() - started - self.hands.deadlines.paused_s
        answered = heard.to_step(number, elapsed_s)
        await self.hands.journal.write(answered)
        self.transcript.take(answered)
        if answered.is_cut_off:
            require_tokens(self.limits, self.transcript.usage.completion_tokens)

    def _choose(self, number: int) -> ToolChoice:
        """A call that is asked for is asked for once, or the run would never end in words."""
        choice = self.request.tool_choice
        if number == 0 or choice.mode != "required":
            return choice
        return ToolChoice(parallel=choice.parallel)

    async def _make_calls(self, made: Round, tools: Sequence[Tool], tally: Tally) -> None:
        """Those of an answer that are not finished yet, a few at a time."""
        answer = made.answer
        for event in tell_unmade(answer):
            await self.hands.outlet.put(event)
        if not answer.to_make:
            return
        if answer.round == self.limits.max_rounds - 1:
            raise last_round_called(self.limits)
        calls: list[ValidCall | InvalidCall] = []
        for asked in answer.to_make:
            was_begun = asked.index in made.started
            call = read_call(asked, tools, was_begun=was_begun)
            is_invalid = isinstance(call, InvalidCall) and not was_begun
            if asked.index in made.finished:
                is_invalid = made.was_invalid(asked)
            else:
                calls.append(call)
            tally.count(asked, is_invalid=is_invalid)
        for finished in await self._make_all(answer.round, calls):
            self.transcript.take(finished)

    async def _make_all(
        self, number: int, calls: Sequence[ValidCall | InvalidCall]
    ) -> list[CallFinished]:
        is_tainted = self.transcript.is_tainted
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.hands.make(number, call, is_tainted=is_tainted))
                    for call in calls
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]
