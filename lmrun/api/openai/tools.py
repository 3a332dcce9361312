"""Tools in OpenAI's notation, and in ours. It knows no message and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL, UNSUPPORTED
from lmrun.api.openai.response_format import Flag
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter
from lmrun.settings.base import Settings

MAX_TOOLS = 128
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class FunctionDefinition(Settings):
    """A function that the model may call. `strict` changes nothing where a call is enforced."""

    name: ToolName
    description: Annotated[str, Field(max_length=16_384)] | None = None
    parameters: dict[str, Any] | None = Field(
        None, description="The JSON schema of the arguments: an object. Left out: no arguments."
    )
    strict: Flag | None = None


def _require_function(value: Any) -> Any:
    if isinstance(value, str) and value != "function":
        raise PydanticCustomError(
            UNSUPPORTED,
            "{kind} is not supported; only function is",
            {"kind": value[:40]},
        )
    return value


FunctionType = Annotated[Literal["function"], BeforeValidator(_require_function)]


class ToolDefinition(Settings):
    """A tool: a function."""

    type: FunctionType
    function: FunctionDefinition


class NamedFunction(Settings):
    name: ToolName


class NamedTool(Settings):
    """The one function to call."""

    type: FunctionType
    function: NamedFunction


class AllowedTools(Settings):
    mode: Literal["auto", "required"]
    tools: Annotated[tuple[NamedTool, ...], Field(min_length=1, max_length=MAX_TOOLS, strict=False)]


class AllowedToolsChoice(Settings):
    """Only some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _check_mode(value: Any) -> Any:
    if not isinstance(value, Mapping) and value not in ("none", "auto", "required"):
        raise PydanticCustomError(
            SAYS_ALL,
            'it must be "none", "auto", "required", or name a function as '
            '{"type": "function", "function": {"name": "…"}}',
        )
    return value


def _find_form(value: Any) -> str:
    if isinstance(value, str):
        return "mode"
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return "allowed_tools" if kind == "allowed_tools" else "function"


Choice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedToolsChoice, Tag("allowed_tools")],
    Discriminator(_find_form),
    BeforeValidator(_check_mode),
]


def to_tools(definitions: Sequence[ToolDefinition]) -> tuple[Tool, ...]:
    """The functions, each name once. Raises InvalidParameter."""
    names = [definition.function.name for definition in definitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidParameter(
                f"`tools[{index}].function.name`: {name!r} is there already.", param="tools"
            )
    return tuple(_to_tool(definition.function) for definition in definitions)


def to_choice(
    choice: Choice | None, tools: Sequence[Tool], *, parallel: bool
) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """What may be called, and the tools that the model hears of.

    Raises InvalidParameter for a choice that these tools do not have.
    """
    if isinstance(choice, AllowedToolsChoice):
        allowed = choice.allowed_tools
        names = [_require(named.function.name, tools) for named in allowed.tools]
        kept = tuple(tool for tool in tools if tool.name in names)
        return ToolChoice(allowed.mode, parallel=parallel), kept
    if isinstance(choice, NamedTool):
        name = _require(choice.function.name, tools)
        return ToolChoice("required", name, parallel=parallel), tuple(tools)
    if choice == "required" and not tools:
        raise InvalidParameter(
            "`tool_choice`: a call is required, but there are no `tools`.", param="tool_choice"
        )
    return ToolChoice(choice or "auto", parallel=parallel), tuple(tools)


def _require(name: str, tools: Sequence[Tool]) -> str:
    known = [tool.name for tool in tools]
    if name not in known:
        raise InvalidParameter(
            f"`tool_choice`: there is no tool {name!r}.",
            param="tool_choice",
            hint=f"`tools` has {', '.join(known)}." if known else "The request has no `tools`.",
        )
    return name


def _to_tool(function: FunctionDefinition) -> Tool:
    if function.parameters is None:
        return Tool(function.name, function.description)
    return Tool(function.name, function.description, function.parameters)
