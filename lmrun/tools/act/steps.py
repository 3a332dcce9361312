"""The steps of a run as they are written down, and what they come to when they are read again: the
conversation, what is left to do, what is used up. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from lmrun.chat.events import StopReason, Usage
from lmrun.chat.messages import Message, ToolCall
from lmrun.tools.act.opening import Opened, weave
from lmrun.tools.tool import ErrorKind, ToolResult

INVALID: frozenset[ErrorKind] = frozenset({"not_a_call", "unknown_tool", "invalid_arguments"})
"""What no tool could be asked with."""

_CUT_OFF: frozenset[StopReason] = frozenset({"maxPredictedTokensReached", "contextLengthReached"})

NO_USAGE = Usage(0, 0)


class AskedCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of one answer. `raw`: what the model wrote where that is no call after all."""

    index: int
    id: str
    name: str
    arguments: str
    raw: str | None = None


class Answered(msgspec.Struct, frozen=True, omit_defaults=True, tag="answered"):
    """The model's answer of a round is complete. `elapsed_s`: since the run's start."""

    round: int
    text: str
    reasoning: str
    calls: tuple[AskedCall, ...]
    stop_reason: StopReason
    usage: Usage
    elapsed_s: float

    @property
    def is_cut_off(self) -> bool:
        """Its end is missing, so none of its calls is made."""
        return self.stop_reason in _CUT_OFF

    @property
    def to_make(self) -> tuple[AskedCall, ...]:
        """The calls that want an answer."""
        return () if self.is_cut_off else self.calls


class CallStarted(msgspec.Struct, frozen=True, tag="call_started"):
    """A tool is about to be run; from now on it may have been."""

    round: int
    index: int


class CallFinished(msgspec.Struct, frozen=True, tag="call_finished"):
    """What came of a call, run or not."""

    round: int
    index: int
    result: ToolResult
    seconds: float = 0.0


Step = Opened | Answered | CallStarted | CallFinished


@dataclass(slots=True)
class Round:
    """An answer, and what became of its calls, by index."""

    answer: Answered
    started: set[int] = field(default_factory=set)
    finished: dict[int, CallFinished] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return all(call.index in self.finished for call in self.answer.to_make)

    def was_invalid(self, call: AskedCall) -> bool:
        """Whether no tool could be asked with it. A tool that was run may say the same."""
        found = self.finished.get(call.index)
        is_refused = call.index not in self.started
        return is_refused and found is not None and found.result.error in INVALID

    @property
    def messages(self) -> list[Message]:
        """The answer and the results; without the calls as long as one of them has no result,
        which no template could show."""
        answer = self.answer
        calls = answer.to_make if self.is_complete else ()
        said = Message(
            role="assistant",
            content=answer.text,
            reasoning=answer.reasoning or None,
            tool_calls=tuple(ToolCall(it.id, it.name, _show_arguments(it)) for it in calls),
        )
        results = (
            Message(
                role="tool",
                content=self.finished[it.index].result.text,
                tool_call_id=it.id,
                name=it.name,
            )
            for it in calls
        )
        return [said, *results]


class Transcript:
    """What a run has done so far. `request`: the conversation that it began with; once what it was
    to read before is read, with that. `opened`: this, None before."""

    def __init__(self, request: Sequence[Message], steps: Iterable[Step] = ()) -> None:
        self.request = tuple(request)
        self.opened: Opened | None = None
        self.rounds: list[Round] = []
        for step in steps:
            self.take(step)

    def take(self, step: Step) -> None:
        """The next step."""
        match step:
            case Opened():
                self.opened, self.request = step, weave(self.request, step)
            case Answered():
                self.rounds.append(Round(step))
            case CallStarted(number, index):
                self.rounds[number].started.add(index)
            case CallFinished(number, index):
                self.rounds[number].finished[index] = step

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation up to now."""
        return (*self.request, *(message for it in self.rounds for message in it.messages))

    @property
    def usage(self) -> Usage:
        """Of all rounds together."""
        usage = NO_USAGE
        for each in self.rounds:
            usage = add_usage(usage, each.answer.usage)
        return usage

    @property
    def calls(self) -> int:
        """How many calls have been asked for."""
        return sum(len(each.answer.to_make) for each in self.rounds)

    @property
    def elapsed_s(self) -> float:
        """How long it had gone on by the last answer."""
        return self.rounds[-1].answer.elapsed_s if self.rounds else 0.0

    @property
    def is_tainted(self) -> bool:
        """Whether the model has read content from elsewhere. Of results that the request brought
        nobody knows where they are from, so they count."""
        if self.opened is not None and self.opened.is_untrusted:
            return True
        return any(message.role == "tool" for message in self.request) or any(
            found.result.is_untrusted
            for each in self.rounds
            if each.is_complete
            for found in each.finished.values()
        )


def add_usage(first: Usage, second: Usage) -> Usage:
    """Both together."""
    return Usage(
        first.prompt_tokens + second.prompt_tokens,
        first.completion_tokens + second.completion_tokens,
        first.cached_tokens + second.cached_tokens,
        first.drafted_tokens + second.drafted_tokens,
        first.accepted_tokens + second.accepted_tokens,
    )


def _show_arguments(call: AskedCall) -> str:
    """As a template can show them: those of a call that could not be read are quoted in its
    result instead."""
    try:
        value = json.loads(call.arguments) if call.raw is None else None
    except (ValueError, RecursionError):
        value = None
    return call.arguments if isinstance(value, dict) else "{}"
