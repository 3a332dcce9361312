"""A response for which the server runs tools: the run behind it, up to where the client must act.

It knows no stream and no store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from lmrun.api.acting.rounds import Notebook, Rounds, is_beginning
from lmrun.api.acting.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.http.record import current_record
from lmrun.api.responses.acting.gate import ClientGate, never
from lmrun.api.responses.acting.kit import Workbench
from lmrun.api.responses.acting.output import by_call
from lmrun.api.responses.conversation import Approved, show_arguments
from lmrun.api.serving import Lease
from lmrun.chat.events import ChatEnd, ToolCallStart, Usage
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.profile.tooling.naming import mcp_name
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import (
    ActEnd,
    ActEvent,
    ApprovalNeeded,
    CallFailed,
    CallSucceeded,
    RoundStart,
)
from lmrun.tools.act.loop import Limits, act
from lmrun.tools.act.steps import Answered, AskedCall, Step, Transcript
from lmrun.tools.tool import Caller


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of a run. `answered`: calls of an earlier response, which it begins with;
    `most_calls`: of tools that the server runs."""

    prompt: Request
    prediction: PredictionConfig
    answered: Sequence[Approved] = ()
    most_calls: int | None = None


async def run_response(
    workshop: Workshop, lease: Lease, bench: Workbench, task: Task
) -> AsyncGenerator[ActEvent | ChatEnd, None]:
    """The events of a run; its end, or where the client must act, is a ChatEnd. Raises what a run
    raises."""
    client = current_client()
    gate = ClientGate(
        gate=workshop.gate,
        kit=bench.kit,
        functions=bench.functions.keys(),
        answers=by_call(task.answered),
        # Without a key, whoever asks and whoever agrees would be anybody.
        may_approve=client.is_owner or client.granted is not None,
        most_calls=task.most_calls,
    )
    chosen = "max_tokens" in task.prediction.model_fields_set
    messages, begun = _resume(task)
    notebook = Notebook(Transcript((), begun))
    events = act(
        Rounds(lease.generate, task.prediction.max_tokens if chosen else None, bench.functions),
        replace(task.prompt, messages=messages, tools=(), tool_choice=bench.choice),
        task.prediction,
        bench,
        gate=gate,
        caller=_make_caller(lease),
        limits=Limits(),
        ask=never,
        journal=notebook,
        begun=begun,
    )
    waiting = _Waiting(bench.functions.keys(), set(range(len(task.answered))))
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ActEnd):
                yield ChatEnd(event.stop_reason, event.usage)
                return
            if not is_beginning(event):
                yield event
            waiting.note(event)
            if waiting.is_over:
                yield ChatEnd("toolCalls", notebook.transcript.usage)
                return


@dataclass(slots=True)
class _Waiting:
    """Watches for the moment at which all that is left of a round is the client's. `open`: calls of
    which nothing has come yet, by index."""

    functions: Collection[str]
    open: set[int]
    is_asked: bool = False

    def note(self, event: ActEvent) -> None:
        match event:
            case RoundStart():
                self.open.clear()
            case ToolCallStart(index):
                self.open.add(index)
            case CallSucceeded(index) | CallFailed(index):
                self.open.discard(index)
                # Even arguments that are none are for the client to see.
                self.is_asked = self.is_asked or event.name in self.functions
            case ApprovalNeeded(index):
                self.open.discard(index)
                self.is_asked = True

    @property
    def is_over(self) -> bool:
        return self.is_asked and not self.open


def _resume(task: Task) -> tuple[tuple[Message, ...], tuple[Step, ...]]:
    """The conversation, and the answer with whose calls the run begins: what the model said before
    them belongs to it."""
    messages = task.prompt.messages
    if not task.answered:
        return messages, ()
    last = messages[-1] if messages else None
    if last is None or last.role != "assistant" or last.tool_calls:
        last = None
    else:
        messages = messages[:-1]
    calls = tuple(
        AskedCall(
            index,
            it.request.id,
            mcp_name(it.request.server_label, it.request.name),
            show_arguments(it.request.arguments),
        )
        for index, it in enumerate(task.answered)
    )
    answer = Answered(
        round=0,
        text=str(last.content) if last is not None else "",
        reasoning=(last.reasoning or "") if last is not None else "",
        calls=calls,
        stop_reason="toolCalls",
        usage=Usage(0, 0),
        elapsed_s=0.0,
    )
    return messages, (answer,)


def _make_caller(lease: Lease) -> Caller:
    record = current_record()
    return Caller(
        door="responses",
        key=record.key if record is not None else None,
        model=lease.instance.spec.identifier,
    )
