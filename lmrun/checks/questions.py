"""Checks → questions. Pure; it knows no answer."""

from __future__ import annotations

import json

from lmrun.chat.messages import Message, Tool, ToolCall
from lmrun.chat.request import Request, ToolChoice
from lmrun.checks.values import Question
from lmrun.settings.check import Check, CheckMessage, CheckTool
from lmrun.settings.prediction import PredictionConfig

_LOAD_TOKENS = 64


def to_question(check: Check) -> Question:
    """What the check asks."""
    own = PredictionConfig(seed=check.seed, deterministic=check.deterministic)
    messages = (
        tuple(map(_to_message, check.messages))
        if check.messages is not None
        else (Message("user", check.prompt or ""),)
    )
    request = Request(
        messages,
        tools=tuple(_to_tool(name, tool) for name, tool in check.tools.items()),
        tool_choice=ToolChoice(check.tool_choice),
    )
    return Question(check.model, request, check.prediction.overlay(own))


def make_load_question(model: str, number: int) -> Question:
    """One of the requests that a model is busy with meanwhile: `number` makes it another one.

    It is sampled freely: how others are answered must not matter to a strict request.
    """
    text = f"{number}: tell me a long story about the number {number}."
    prediction = PredictionConfig(
        max_tokens=_LOAD_TOKENS, temperature=1.0, seed=number, deterministic="off"
    )
    return Question(model, Request((Message("user", text),)), prediction)


def _to_message(message: CheckMessage) -> Message:
    return Message(
        message.role,
        message.content,
        tool_calls=tuple(
            ToolCall(call.id, call.name, json.dumps(call.arguments, ensure_ascii=False))
            for call in message.tool_calls
        ),
        tool_call_id=message.tool_call_id,
    )


def _to_tool(name: str, tool: CheckTool) -> Tool:
    if not isinstance(tool.parameters, dict):
        return Tool(name, tool.description)
    return Tool(name, tool.description, tool.parameters)
