"""A chat template that nobody vouches for, as a function from messages to text.

It bounds what can be bounded from within; it does not know the deadline, which the process around
it sets, because no Python code can stop a loop that runs inside one C call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmrun.chat.messages import Conversation
from lmrun.worker.rendering import shapes

MAX_SOURCE_BYTES = 256 * 1000
MAX_OUTPUT_BYTES = 4 * 1000 * 1000
MAX_REPEATED = 4 * 1000 * 1000
MAX_POWER_BITS = 4096


class OutputTooLong(Exception):
    """The template writes more than MAX_OUTPUT_BYTES."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of Hugging Face's chat templates, with bounds on what one operator may make."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operator's result. Raises SecurityError for one that would be enormous."""
        if operator == "*":
            _check_repetition(left, right)
            _check_repetition(right, left)
        else:
            _check_power(left, right)
        return super().call_binop(context, operator, left, right)


def _check_repetition(repeated: Any, times: Any) -> None:
    is_sized = isinstance(repeated, str | list | tuple)
    if is_sized and isinstance(times, int) and len(repeated) * times > MAX_REPEATED:
        raise SecurityError(f"a repetition makes more than {MAX_REPEATED} elements")


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        bits = base.bit_length() * max(exponent, 0)
        if bits > MAX_POWER_BITS:
            raise SecurityError(f"a power has more than {MAX_POWER_BITS} bits")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As in Hugging Face's transformers: jinja's own filter would escape HTML characters."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise TemplateError(str(message))


def _strftime_now(text: str) -> str:
    return datetime.now().strftime(text)


def compile_template(source: str) -> Template:
    """The template of `source`. Raises jinja2.TemplateError when it is none or too long."""
    size = len(source.encode())
    if size > MAX_SOURCE_BYTES:
        raise TemplateError(f"its source has {size} bytes, the limit is {MAX_SOURCE_BYTES}")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def make_renderer(source: str, variables: Mapping[str, Any]) -> Callable[[Conversation], str]:
    """A function from conversations, whose contents are text, to the prompt of `source`'s template.

    Raises jinja2.TemplateError like `compile_template`; the function raises what `render` does.
    """
    template = compile_template(source)
    wants_parts = _wants_parts(template, variables)

    def render_conversation(conversation: Conversation) -> str:
        messages = [shapes.to_message(message) for message in conversation.messages]
        shown = [_to_parts(message) for message in messages] if wants_parts else messages
        tools = [shapes.to_tool(tool) for tool in conversation.tools] or None
        return render(
            template, shown, {**variables, **conversation.variables, "tools": tools}
        )

    return render_conversation


def _to_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def _wants_parts(template: Template, variables: Mapping[str, Any]) -> bool:
    """Whether the template shows a message only when its content is a list of parts, as those of
    many vision models do: given text, they leave it out without a word."""
    message = {"role": "user", "content": "lmrun asks"}

    def shows(probe: Mapping[str, Any]) -> bool:
        try:
            return message["content"] in render(template, [probe], variables)
        except Exception:  # foreign code: it may raise anything
            return False

    return not shows(message) and shows(_to_parts(message))


def render(
    template: Template, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
) -> str:
    """The prompt. Raises OutputTooLong, and whatever the template's own code raises."""
    parts: list[str] = []
    left = MAX_OUTPUT_BYTES
    for part in template.generate(messages=messages, add_generation_prompt=True, **variables):
        left -= len(part.encode())
        if left < 0:
            raise OutputTooLong(f"it writes more than {MAX_OUTPUT_BYTES} bytes")
        parts.append(part)
    return "".join(parts)
