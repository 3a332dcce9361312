"""Prompts as Hugging Face's transformers make them: the reference for ours.

It is `apply_chat_template` without a tokenizer: the function behind it, given what a tokenizer
would give. It knows nothing of lmrun's own rendering.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers.utils import chat_template_utils

Shape = Mapping[str, Any]


def render(
    source: str, messages: Sequence[Shape], tools: Sequence[Shape], **variables: Any
) -> str | None:
    """The prompt, with a place for the answer; None where transformers raise.

    Arguments of calls are objects in `messages`, and messages that have only calls have no content,
    as transformers want it. Some templates take another form, and leave the calls out, write
    them as Python would, or raise: then it is the first form in which they are shown.
    """
    first: str | None = None
    for form in _forms(messages):
        text = _render(source, form, tools, variables)
        if text is not None and _shows_calls(text, messages):
            return text
        first = text if first is None else first
    return first


def _render(
    source: str, messages: list[Shape], tools: Sequence[Shape], variables: Mapping[str, Any]
) -> str | None:
    # It says of itself that it takes less, and gives something else.
    render_template: Any = chat_template_utils.render_jinja_template
    try:
        rendered, _ = render_template(
            conversations=[messages],
            tools=list(tools) or None,
            chat_template=source,
            add_generation_prompt=True,
            **variables,
        )
    except Exception:  # the template's own code: it may raise anything
        return None
    return str(rendered[0])


def _forms(messages: Sequence[Shape]) -> Iterator[list[Shape]]:
    if not _calls(messages):
        yield list(messages)
        return
    for as_text in (False, True):
        for content in ({}, {"content": ""}, {"content": None}):
            yield [_put(message, content, as_text) for message in messages]


def _put(message: Shape, content: Shape, as_text: bool) -> Shape:
    """The message in another form, if it has calls."""
    if "tool_calls" not in message:
        return message
    calls = message["tool_calls"]
    if as_text:
        calls = [
            {**call, "function": {**call["function"], "arguments": _as_text(call)}}
            for call in calls
        ]
    return {**content, **message, "tool_calls": calls}


def _calls(messages: Sequence[Shape]) -> list[Shape]:
    return [call for message in messages for call in message.get("tool_calls", ())]


def _as_text(call: Shape) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


def _shows_calls(text: str, messages: Sequence[Shape]) -> bool:
    """Whether all arguments are there, in JSON or the model's own notation."""
    arguments = [call["function"]["arguments"] for call in _calls(messages)]
    values = [str(value) for given in arguments for value in given.values()]
    is_complete = all(it in text or json.dumps(it).strip('"') in text for it in values)
    is_escaped = '\\"' in text
    is_python = any(str(given) in text for given in arguments)
    return is_complete and not is_escaped and not is_python
