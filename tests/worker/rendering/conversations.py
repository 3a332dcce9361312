"""Conversations that every template should take: as transformers are given them, and as lmrun."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, Tool, ToolCall

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "A <city> & its country, like Zürich."},
        "days": {"type": "integer", "description": "How many."},
    },
    "required": ["city"],
}
TIME: dict[str, Any] = {
    "type": "object",
    "properties": {"zone": {"type": "string", "description": "Of the clock."}},
}
TOOLS = (
    Tool("get_weather", "Tells the weather.", WEATHER),
    Tool("get_time", "Tells the time.", TIME),
)
ASK = ("user", "What is the weather at the lake, and what time is it?")
WEATHER_CALL = ("call00001", "get_weather", {"city": "Genève", "days": 31})
TIME_CALL = ("call00002", "get_time", {"zone": "CET"})
WEATHER_RESULT = ("tool", '{"temperature": 20}', "call00001", "get_weather")
TIME_RESULT = ("tool", "12:30", "call00002", "get_time")


@dataclass(frozen=True)
class Given:
    """A conversation for both sides."""

    ours: Conversation
    theirs: list[dict[str, Any]]
    tools: list[dict[str, Any]]


def say(role: Any, content: str, **more: Any) -> tuple[Message, dict[str, Any]]:
    """A message of text; `reasoning` of an assistant."""
    theirs = {"role": role, "content": content}
    if "reasoning" in more:
        theirs["reasoning_content"] = more["reasoning"]
    return Message(role, content, **more), theirs


def call(*calls: tuple[str, str, dict[str, Any]], **more: Any) -> tuple[Message, dict[str, Any]]:
    """An assistant's message that has calls and nothing else, except `reasoning`."""
    ours = tuple(ToolCall(id, name, json.dumps(it, ensure_ascii=False)) for id, name, it in calls)
    theirs: dict[str, Any] = {
        "role": "assistant",
        "tool_calls": [
            {"id": id, "type": "function", "function": {"name": name, "arguments": it}}
            for id, name, it in calls
        ],
    }
    if "reasoning" in more:
        theirs["reasoning_content"] = more["reasoning"]
    return Message("assistant", "", tool_calls=ours, **more), theirs


def result(role: Any, content: str, id: str, name: str) -> tuple[Message, dict[str, Any]]:
    """What a tool gave."""
    theirs = {"role": role, "content": content, "tool_call_id": id, "name": name}
    return Message(role, content, tool_call_id=id, name=name), theirs


def converse(*turns: tuple[Message, dict[str, Any]], tools: tuple[Tool, ...] = ()) -> Given:
    """The turns, for both sides."""
    functions = [
        {"name": it.name, "description": it.description, "parameters": it.parameters}
        for it in tools
    ]
    return Given(
        Conversation(tuple(ours for ours, _ in turns), tools),
        [theirs for _, theirs in turns],
        [{"type": "function", "function": function} for function in functions],
    )


SYSTEM = say("system", "Be brief. <b>&</b>")
CONVERSATIONS = {
    "plain": converse(say("user", "Hello <b>you</b> & 'me', \"é\"\n")),
    "system": converse(SYSTEM, say("user", "Hello")),
    "turns": converse(
        SYSTEM, say("user", "Hello"), say("assistant", "Hi there."), say("user", " And? ")
    ),
    "tools": converse(SYSTEM, say(*ASK), tools=TOOLS),
    "result": converse(say(*ASK), call(WEATHER_CALL), result(*WEATHER_RESULT), tools=TOOLS),
    "answer": converse(
        SYSTEM,
        say(*ASK),
        call(WEATHER_CALL),
        result(*WEATHER_RESULT),
        say("assistant", "It is 20 degrees."),
        say("user", "Thank you."),
        tools=TOOLS,
    ),
    "parallel": converse(
        say(*ASK),
        call(WEATHER_CALL, TIME_CALL),
        result(*WEATHER_RESULT),
        result(*TIME_RESULT),
        tools=TOOLS,
    ),
    "reasoning": converse(
        say("user", "Is it late?"),
        say("assistant", "It is.", reasoning="They ask for the time."),
        say("user", "Sure?"),
    ),
    "reasoning and call": converse(
        say(*ASK),
        call(WEATHER_CALL, reasoning="I need the weather."),
        result(*WEATHER_RESULT),
        tools=TOOLS,
    ),
}

PICTURE = ImagePart(b"not looked at")


def picture(place: str | None) -> Given:
    """Pictures among text; `place`: what stands for one where only text is taken."""
    ours = Conversation(
        (
            Message("user", (TextPart("Compare this: "), PICTURE, PICTURE, TextPart(" Well?"))),
            Message("assistant", "They are alike."),
            Message("user", "Really?"),
        )
    )
    parts: Any = [
        {"type": "text", "text": "Compare this: "},
        {"type": "image"},
        {"type": "image"},
        {"type": "text", "text": " Well?"},
    ]
    if place is not None:
        parts = f"Compare this: {place}{place} Well?"
    theirs = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "They are alike."},
        {"role": "user", "content": "Really?"},
    ]
    return Given(ours, theirs, [])
