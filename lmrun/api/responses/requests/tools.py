"""Functions and MCP tools that the model may call, and whether it must. It knows no item and no
model.

Format: `FunctionTool` and `ToolChoice` of OpenAI's reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lmrun.api import tool_choice
from lmrun.api.fields import NO_EFFECT, SAYS_ALL, only
from lmrun.api.responses.requests.kinds import OneOf
from lmrun.api.responses.requests.mcp import McpTool, NamedMcpTool
from lmrun.api.tool_choice import MAX_TOOLS, MODES, ToolName, Wanted
from lmrun.api.tool_schema import ArgumentsSchema
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter
from lmrun.profile.tooling.naming import mcp_name
from lmrun.settings.base import Settings

_INSTEAD = "only function and mcp are"


class FunctionTool(Settings):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: Annotated[str, Field(max_length=16_384)] | None = None
    parameters: ArgumentsSchema | None = Field(
        None, description="The JSON schema of the arguments: an object. Left out: no arguments."
    )
    strict: bool | None = Field(
        None,
        json_schema_extra=NO_EFFECT,
        description="Where a call is enforced, so is the schema.",
    )
    is_async: Annotated[Any, only(False)] = Field(None, alias="async")
    allowed_callers: Annotated[Any, only(["direct"])] = None
    defer_loading: Annotated[Any, only(False)] = None
    output_schema: Annotated[Any, only()] = None


ToolDefinition = Annotated[
    FunctionTool | McpTool, OneOf({"function": FunctionTool, "mcp": McpTool}, _INSTEAD)
]


class NamedFunction(Settings):
    """A function by its name."""

    type: Literal["function"]
    name: ToolName


class AllowedTools(Settings):
    """Only some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        tuple[
            Annotated[
                NamedFunction | NamedMcpTool,
                OneOf({"function": NamedFunction, "mcp": NamedMcpTool}, _INSTEAD),
            ],
            ...,
        ],
        Field(min_length=1, max_length=MAX_TOOLS, strict=False),
    ]


class _ModeOrTool(OneOf):
    """A mode, or which tools."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, _: Any, __: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._parse_choice)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: Any) -> dict[str, Any]:
        tools = OneOf.__get_pydantic_json_schema__(self, core, handler)
        return {"anyOf": [{"enum": list(MODES)}, *tools["anyOf"]]}

    def _parse_choice(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self.parse(value)
        if value not in MODES:
            raise PydanticCustomError(
                SAYS_ALL,
                'it must be "none", "auto", "required", or name a function as '
                '{"type": "function", "name": "…"}',
            )
        return value


Choice = Annotated[
    Literal["none", "auto", "required"] | NamedFunction | NamedMcpTool | AllowedTools,
    _ModeOrTool(
        {"function": NamedFunction, "mcp": NamedMcpTool, "allowed_tools": AllowedTools},
        "only function, mcp and allowed_tools are",
    ),
]


def find_functions(definitions: Sequence[FunctionTool | McpTool]) -> tuple[FunctionTool, ...]:
    """The functions of the client."""
    return tuple(it for it in definitions if isinstance(it, FunctionTool))


def find_servers(definitions: Sequence[FunctionTool | McpTool]) -> tuple[McpTool, ...]:
    """The MCP servers."""
    return tuple(it for it in definitions if isinstance(it, McpTool))


def to_tools(definitions: Sequence[FunctionTool]) -> tuple[Tool, ...]:
    """The functions, each name once. Raises InvalidParameter."""
    return tool_choice.to_tools(definitions, "name")


def to_choice(
    choice: Choice | None, tools: Sequence[Tool], *, parallel: bool
) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """What may be called, and the tools that the model hears of.

    Raises InvalidParameter for a choice that these tools do not have.
    """
    return tool_choice.to_choice(_read(choice, tools), tools, parallel=parallel)


def _read(choice: Choice | None, tools: Sequence[Tool]) -> Wanted:
    if isinstance(choice, AllowedTools):
        names = (name for named in choice.tools for name in _names(named, tools))
        return Wanted(choice.mode, among=tuple(names))
    if isinstance(choice, NamedMcpTool) and choice.name is None:
        raise InvalidParameter(
            "`tool_choice.name` is required: which tool of the server is to be called.",
            param="tool_choice",
        )
    if isinstance(choice, NamedFunction | NamedMcpTool):
        return Wanted("required", _names(choice, tools)[0])
    return Wanted(choice or "auto")


def _names(named: NamedFunction | NamedMcpTool, tools: Sequence[Tool]) -> tuple[str, ...]:
    """What the model calls it, or all tools of a server."""
    if isinstance(named, NamedFunction):
        return (named.name,)
    if named.name is not None:
        return (mcp_name(named.server_label, named.name),)
    prefix = mcp_name(named.server_label, "")
    return tuple(tool.name for tool in tools if tool.name.startswith(prefix))
