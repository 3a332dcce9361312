"""Functions that the model may call, and whether it must. It knows no item and no model.

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
from lmrun.api.tool_choice import MAX_TOOLS, MODES, ToolName, Wanted
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.base import Settings

_INSTEAD = "only function is: tools that the server itself runs come later"


class FunctionTool(Settings):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: Annotated[str, Field(max_length=16_384)] | None = None
    parameters: dict[str, Any] | None = Field(
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


ToolDefinition = Annotated[FunctionTool, OneOf({"function": FunctionTool}, _INSTEAD)]


class NamedFunction(Settings):
    """A function by its name."""

    type: Literal["function"]
    name: ToolName


class AllowedTools(Settings):
    """Only some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        tuple[Annotated[NamedFunction, OneOf({"function": NamedFunction}, _INSTEAD)], ...],
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
    Literal["none", "auto", "required"] | NamedFunction | AllowedTools,
    _ModeOrTool({"function": NamedFunction, "allowed_tools": AllowedTools}, _INSTEAD),
]


def to_tools(definitions: Sequence[FunctionTool]) -> tuple[Tool, ...]:
    """The functions, each name once. Raises InvalidParameter."""
    return tool_choice.to_tools(definitions, "name")


def to_choice(
    choice: Choice | None, tools: Sequence[Tool], *, parallel: bool
) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """What may be called, and the tools that the model hears of.

    Raises InvalidParameter for a choice that these tools do not have.
    """
    return tool_choice.to_choice(_read(choice), tools, parallel=parallel)


def _read(choice: Choice | None) -> Wanted:
    if isinstance(choice, AllowedTools):
        return Wanted(choice.mode, among=tuple(named.name for named in choice.tools))
    if isinstance(choice, NamedFunction):
        return Wanted("required", choice.name)
    return Wanted(choice or "auto")
