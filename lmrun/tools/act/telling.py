"""What a run says of its steps, while they are made and when they are read again. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lmrun.chat.events import MessageDelta, ReasoningDelta, ToolCallArguments, ToolCallStart
from lmrun.tools.act.events import ActEnd, ActEvent, CallFailed, CallSucceeded, RoundEnd, RoundStart
from lmrun.tools.act.steps import Answered, AskedCall, CallFinished, Round, Transcript


def tell_result(asked: AskedCall, finished: CallFinished) -> CallSucceeded | CallFailed:
    """What came of a call."""
    result = finished.result
    if result.error is None:
        return CallSucceeded(asked.index, asked.id, asked.name, result.text, finished.seconds)
    return CallFailed(
        asked.index, asked.id, asked.name, result.error, result.text, finished.seconds
    )


def tell_unmade(answer: Answered) -> Iterator[CallFailed]:
    """The calls of an answer that was cut off."""
    for call in answer.calls if answer.is_cut_off else ():
        text = "The answer was cut off, so the call was not made."
        yield CallFailed(call.index, call.id, call.name, "not_a_call", text)


def tell_end(transcript: Transcript) -> ActEnd:
    """The end of a run whose last answer asks for nothing."""
    answer = transcript.rounds[-1].answer
    return ActEnd(
        text=answer.text,
        stop_reason=answer.stop_reason,
        rounds=len(transcript.rounds),
        calls=transcript.calls,
        usage=transcript.usage,
    )


def retell(transcript: Transcript, max_rounds: int) -> Iterator[ActEvent]:
    """All that was said of the steps made so far, each text in one piece."""
    for made in transcript.rounds:
        yield from _retell_round(made, max_rounds)


def _retell_round(made: Round, max_rounds: int) -> Iterator[ActEvent]:
    answer = made.answer
    yield RoundStart(answer.round, answer.round == max_rounds - 1)
    if answer.reasoning:
        yield ReasoningDelta(answer.reasoning)
    if answer.text:
        yield MessageDelta(answer.text)
    for call in answer.calls:
        yield ToolCallStart(call.index, call.id, call.name)
        if call.arguments:
            yield ToolCallArguments(call.index, call.arguments)
    yield from tell_unmade(answer)
    for call in answer.to_make:
        if call.index in made.finished:
            yield tell_result(call, made.finished[call.index])
    if made.is_complete:
        yield RoundEnd(answer.round, answer.usage)
