"""Prompts as their server lists them, and whether one can be asked for as somebody wants it. Pure;
it knows no session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from mcp_types import Prompt

from lmrun.errors import McpUnusable
from lmrun.tools.mcp.cleaning import clean, clean_line

MAX_DESCRIBED = 1000
MAX_NAMED = 10
MAX_NAME = 100


class McpPromptArgument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A blank in a prompt."""

    name: str
    description: str | None = None
    is_required: bool = False


class McpPrompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prompt that a server lists."""

    name: str
    description: str | None = None
    arguments: tuple[McpPromptArgument, ...] = ()


def as_prompt(raw: Prompt) -> McpPrompt:
    """A prompt of the library's."""
    return McpPrompt(
        name=raw.name,
        description=describe(raw.description),
        arguments=tuple(
            McpPromptArgument(it.name, describe(it.description), is_required=bool(it.required))
            for it in raw.arguments or ()
        ),
    )


def describe(text: str | None) -> str | None:
    """What a server says of something, for people."""
    return clean(text[:MAX_DESCRIBED]) if text else None


def require_fit(
    listed: Sequence[McpPrompt], name: str, arguments: Mapping[str, str], *, is_whole: bool
) -> None:
    """Raises McpUnusable where there is no prompt called `name`, where one of its blanks must be
    filled in and is not, or where something is to be filled in that is no blank. `is_whole`: the
    server has no more prompts than `listed`."""
    prompt = next((it for it in listed if it.name == name), None)
    if prompt is None:
        if is_whole:
            raise McpUnusable(
                "The server has no such prompt.",
                hint=f"It has {join_names(it.name for it in listed)}.",
            )
        return
    blanks = {it.name: it for it in prompt.arguments}
    for blank in prompt.arguments:
        if blank.is_required and blank.name not in arguments:
            raise McpUnusable(
                f"The prompt needs an argument {clean_line(blank.name, MAX_NAME)!r}.",
                hint="A preset of the profile with this `mcp_prompt` gives it in its `arguments`.",
            )
    for argument in arguments:
        if argument not in blanks:
            raise McpUnusable(
                f"The prompt takes no argument {argument[:MAX_NAME]!r}.",
                hint=f"It takes {join_names(blanks)}.",
            )


def join_names(names: Iterable[str]) -> str:
    """The first ones, or `none`."""
    shown = [clean_line(name, MAX_NAME) for name in names]
    more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
    return f"{', '.join(shown[:MAX_NAMED])}{more}" if shown else "none"
