"""Lark rules for calls as Python writes them, with JSON for values. It knows no format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmrun.chat.formats.writing.grammars import quote, write_choice, write_json
from lmrun.chat.messages import Tool
from lmrun.errors import InvalidParameter

_STRUCTURES = ("anyOf", "oneOf", "allOf", "not", "$ref", "if", "dependentRequired")
_DEFINITIONS = ("$defs", "definitions")


def write_python_calls(tools: Sequence[Tool]) -> list[str]:
    """Rules for `call`: a tool's name and its arguments by their names, those first that it needs.

    Raises InvalidParameter for a tool whose arguments cannot be enforced in this form.
    """
    rules = [write_choice("call", len(tools))]
    for index, tool in enumerate(tools):
        properties, required = _read_properties(tool)
        for place, schema in enumerate(properties.values()):
            rules.append(f"argument_{index}_{place}: {write_json(_close(schema, tool))}")
        written = [
            f"{quote(f'{name}=')} argument_{index}_{place}" for place, name in enumerate(properties)
        ]
        arguments = _write_arguments(written, [name in required for name in properties])
        rules.append(f'call_{index}: {quote(f"{tool.name}(")} {arguments} ")"')
    return rules


def _write_arguments(written: list[str], needed: list[bool]) -> str:
    """Arguments with commas between them, in this order except that needed ones come first."""
    first = [text for text, is_needed in zip(written, needed, strict=True) if is_needed]
    others = [text for text, is_needed in zip(written, needed, strict=True) if not is_needed]
    comma = '", "'
    if first:
        return " ".join([f" {comma} ".join(first), *(f"({comma} {text})?" for text in others)])
    chains = (
        " ".join([text, *(f"({comma} {later})?" for later in others[place + 1 :])])
        for place, text in enumerate(others)
    )
    return f"({' | '.join(chains)})?" if others else ""


def _read_properties(tool: Tool) -> tuple[dict[str, Any], Sequence[str]]:
    properties = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", ())
    if not isinstance(properties, dict) or any(each in tool.parameters for each in _STRUCTURES):
        raise _refuse(tool, "its arguments are not plain properties")
    for name in (*properties, *required):
        if not name.isidentifier() or name not in properties:
            raise _refuse(tool, f"`{name}` is no property that Python could name")
    return properties, required


def _close(schema: Any, tool: Tool) -> Any:
    """A part of a tool's schema, with what it may refer to."""
    shared = {
        key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters
    }
    return {**shared, **schema} if isinstance(schema, dict) else schema


def _refuse(tool: Tool, reason: str) -> InvalidParameter:
    return InvalidParameter(f"The tool `{tool.name}` cannot be enforced: {reason}.", param="tools")
