"""What OpenAI's two dialects have in common about functions: names, and which of them are called.

It knows no notation: each dialect reads its own into `Wanted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter

MAX_TOOLS = 128
MODES = ("none", "auto", "required")
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


@dataclass(frozen=True)
class Wanted:
    """`name`: the one function to call. `among`: the only ones that may be."""

    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None
    among: tuple[str, ...] | None = None


class Function(Protocol):
    """A function as both dialects define it. `parameters`: the JSON schema of its arguments."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str | None: ...

    @property
    def parameters(self) -> dict[str, Any] | None: ...


def to_tools(functions: Sequence[Function], field: str) -> tuple[Tool, ...]:
    """The functions, each name once. `field`: where in a tool its name stands.

    Raises InvalidParameter.
    """
    names = [function.name for function in functions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidParameter(
                f"`tools[{index}].{field}`: {name!r} is there already.", param="tools"
            )
    return tuple(_to_tool(function) for function in functions)


def to_choice(
    wanted: Wanted, tools: Sequence[Tool], *, parallel: bool
) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """What may be called, and the tools that the model hears of.

    Raises InvalidParameter for a choice that these tools do not have.
    """
    for name in (*(wanted.among or ()), *([wanted.name] if wanted.name is not None else ())):
        _require(name, tools)
    if wanted.mode == "required" and not tools:
        raise InvalidParameter(
            "`tool_choice`: a call is required, but there are no `tools`.", param="tool_choice"
        )
    kept = tuple(tool for tool in tools if wanted.among is None or tool.name in wanted.among)
    return ToolChoice(wanted.mode, wanted.name, parallel=parallel), kept


def _require(name: str, tools: Sequence[Tool]) -> None:
    known = [tool.name for tool in tools]
    if name not in known:
        raise InvalidParameter(
            f"`tool_choice`: there is no tool {name!r}.",
            param="tool_choice",
            hint=f"`tools` has {', '.join(known)}." if known else "The request has no `tools`.",
        )


def _to_tool(function: Function) -> Tool:
    if function.parameters is None:
        return Tool(function.name, function.description)
    return Tool(function.name, function.description, function.parameters)
