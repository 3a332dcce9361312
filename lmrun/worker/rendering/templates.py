"""A chat template that nobody vouches for, as a function from conversations to text.

It bounds what can be bounded from within; it does not know the deadline, which the process around
it sets, because no Python code can stop a loop that runs inside one C call.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Template

from lmrun.chat.messages import Conversation
from lmrun.worker.rendering import shapes
from lmrun.worker.rendering.environment import compile_template
from lmrun.worker.rendering.exchange import MAX_OUTPUT_BYTES
from lmrun.worker.rendering.forms import find_form
from lmrun.worker.rendering.shapes import Form

Renderer = Callable[[Conversation, str], str]
"""From a conversation to its prompt, in which the second argument, a text that no message holds,
stands for each picture."""


class OutputTooLong(Exception):
    """The template writes more than MAX_OUTPUT_BYTES."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a template sees."""

    messages: Sequence[Mapping[str, Any]]
    variables: Mapping[str, Any]


def make_renderer(source: str, variables: Mapping[str, Any]) -> Renderer:
    """A function from conversations to the prompt of `source`'s template, given what it takes.

    Raises jinja2.TemplateError like `compile_template`; the function raises what `render` does.
    """
    template = compile_template(source)

    def render_in(conversation: Conversation, form: Form, marker: str = "") -> str:
        shown = _show(conversation, variables, form, marker)
        if form.image and conversation.images:
            return _render_images(template, shown, form.image, marker)
        return render(template, shown.messages, shown.variables)

    form = find_form(render_in)
    return lambda conversation, marker: render_in(conversation, form, marker)


def _show(
    conversation: Conversation, variables: Mapping[str, Any], form: Form, marker: str
) -> _Shown:
    """As `apply_chat_template` does: tools and documents are defined, and may be none."""
    messages = [shapes.to_message(message, form, marker) for message in conversation.messages]
    tools = [shapes.to_tool(tool) for tool in conversation.tools] or None
    given = {"documents": None, **variables, **conversation.variables, "tools": tools}
    return _Shown(messages, given)


def _render_images(template: Template, shown: _Shown, image: str, marker: str) -> str:
    """The prompt with `marker` for what the template writes for a picture, and only for that: where
    `image` is something that somebody said, it stays so."""
    said = secrets.token_hex(16)
    messages = _replace(shown.messages, image, said)
    text = render(template, messages, _replace(shown.variables, image, said))
    return text.replace(image, marker).replace(said, image)


def _replace(value: Any, old: str, new: str) -> Any:
    """`value` with `old` replaced in all its texts."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list | tuple):
        return [_replace(item, old, new) for item in value]
    if isinstance(value, Mapping):
        return {_replace(key, old, new): _replace(it, old, new) for key, it in value.items()}
    return value


def render(
    template: Template, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
) -> str:
    """The prompt. Raises OutputTooLong, and whatever the template's own code raises."""
    parts: list[str] = []
    left = MAX_OUTPUT_BYTES
    given = {**variables, "messages": messages, "add_generation_prompt": True}
    for part in template.generate(given):
        left -= len(part.encode())
        if left < 0:
            raise OutputTooLong(f"it writes more than {MAX_OUTPUT_BYTES} bytes")
        parts.append(part)
    return "".join(parts)
