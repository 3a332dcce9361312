"""A chat's answer as OpenAI's message, whole and in deltas. Pure; it knows no envelope."""

from __future__ import annotations

from msgspec import UNSET

from lmrun.api.openai.answers.bodies import (
    AssistantMessage,
    CalledFunction,
    ChatDelta,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
)
from lmrun.chat.answer import Answer
from lmrun.chat.events import (
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)

Delta = MessageDelta | ReasoningDelta | ToolCallStart | ToolCallArguments | ToolCallFailed
"""What an answer says, piece by piece."""


def to_message(answer: Answer) -> AssistantMessage:
    """The whole message."""
    calls = tuple(
        ToolCall(call.id, CalledFunction(call.name, call.arguments)) for call in answer.tool_calls
    )
    return AssistantMessage(
        answer.text if answer.text or not calls else None,
        reasoning_content=answer.reasoning or UNSET,
        tool_calls=calls or UNSET,
    )


def to_delta(delta: Delta) -> ChatDelta:
    """The next piece of it."""
    match delta:
        case MessageDelta(text) | ToolCallFailed(_, text):
            return ChatDelta(content=text)
        case ReasoningDelta(text):
            return ChatDelta(reasoning_content=text)
        case ToolCallStart(index, id, name):
            begun = ToolCallDelta(index, id, "function", FunctionDelta(name, ""))
            return ChatDelta(tool_calls=(begun,))
        case ToolCallArguments(index, text):
            more = ToolCallDelta(index, function=FunctionDelta(arguments=text))
            return ChatDelta(tool_calls=(more,))
