"""The tools of lmrun's own MCP server: what each client may see, and what comes of a call.

It knows no transport. What goes wrong in a call is a result that says so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import mcp_types as types
import msgspec
from pydantic import BaseModel

from lmrun.api.acting.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.http.record import current_record
from lmrun.api.mcp import models
from lmrun.api.mcp.pacing import telling
from lmrun.api.routes import Scope, is_granted
from lmrun.api.serving import Pool
from lmrun.api.validate import validate_request
from lmrun.errors import LmrunError
from lmrun.tools.arguments import ArgumentFault, check_arguments
from lmrun.tools.policy.gate import Wish
from lmrun.tools.tool import Caller, Tool, ToolProgress, ToolResult

OnProgress = Callable[[ToolProgress], Awaitable[None]]
PROGRESS_EVERY_S = 0.5

_ArgumentsT = TypeVar("_ArgumentsT", bound=BaseModel)


class UnknownTool(LmrunError):
    """There is none of that name, or none for this client."""

    code = "unknown_tool"


@dataclass(frozen=True, slots=True)
class _Own:
    """A tool of lmrun's own. `output`: the type of its structured result."""

    description: str
    arguments: type[BaseModel]
    output: type[msgspec.Struct]


_OWN: dict[str, _Own] = {
    "chat": _Own(
        "Ask a local language model a question, or continue a conversation.",
        models.ChatArguments,
        models.ChatAnswer,
    ),
    "embed": _Own(
        "Turn texts into vectors with a local embedding model.",
        models.EmbedArguments,
        models.EmbedAnswer,
    ),
    "list_models": _Own(
        "The local models that can be asked.", models.ListArguments, models.ModelList
    ),
}


@dataclass(frozen=True, slots=True)
class Offering:
    """What the server offers, and does, for the client of the current request."""

    pool: Pool
    workshop: Workshop

    async def list(self) -> list[types.Tool]:
        """The tools that this client may call."""
        own = [_describe(name, tool) for name, tool in _OWN.items()] if _may("inference") else []
        return [*own, *(_describe_exported(it) for it in (await self._exported()).values())]

    async def call(
        self, name: str, arguments: Mapping[str, Any], on_progress: OnProgress
    ) -> types.CallToolResult:
        """What comes of it. Raises UnknownTool for one that `list` does not have."""
        if name in _OWN and _may("inference"):
            try:
                return _show(await self._call_own(name, arguments, on_progress))
            except LmrunError as error:
                return _fail(str(error))
        tool = (await self._exported()).get(name)
        if tool is None:
            raise UnknownTool(f"There is no tool {name[:80]!r}.")
        return await self._call_exported(tool, arguments, on_progress)

    async def _call_own(
        self, name: str, arguments: Mapping[str, Any], on_progress: OnProgress
    ) -> msgspec.Struct:
        given = _validate(_OWN[name].arguments, arguments)
        if isinstance(given, models.ChatArguments):
            return await models.chat(self.pool, given, _now_and_then(on_progress))
        if isinstance(given, models.EmbedArguments):
            return await models.embed(self.pool, given)
        profile = self.workshop.profile
        return models.list_models(self.pool, profile.agents if profile is not None else {})

    async def _call_exported(
        self, tool: Tool, arguments: Mapping[str, Any], on_progress: OnProgress
    ) -> types.CallToolResult:
        """As far as the policy lets it; nobody is there to be asked."""
        checked = check_arguments(arguments, tool.spec.parameters)
        if isinstance(checked, ArgumentFault):
            return _fail(checked.message)
        record = current_record()
        caller = Caller(door="mcp", key=record.key if record is not None else None)
        id = record.request_id if record is not None else ""
        wish = Wish(id, tool.spec, checked, caller)
        gate = self.workshop.gate
        verdict = await gate.decide(wish, None)
        if not verdict.is_allowed:
            gate.note(wish, verdict, None, 0.0)
            return _fail(f"denied: {verdict.reason}" if verdict.reason else "denied")
        begun, result = time.monotonic(), None
        try:
            result = await _run(tool, checked, on_progress)
        finally:
            gate.note(wish, verdict, result, time.monotonic() - begun)
        return _fail(result.text) if result.error is not None else _say(result.text)

    async def _exported(self) -> dict[str, Tool]:
        """The profile's tools that say `export: true`, by the name they have here: one that is
        called like a tool of lmrun's own gets another."""
        profile = self.workshop.profile
        if profile is None or not _may("tools"):
            return {}
        names = tuple(name for name, config in profile.tools.items() if config.export)
        tools = await self.workshop.toolset(names).tools() if names else ()
        return {_rename(it.spec.name): it for it in tools if it.spec.is_exported}


async def _run(tool: Tool, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
    """Progress goes out in its own time: a tool does not wait for who listens."""
    async with telling(on_progress) as tell:
        return await tool.call(arguments, tell)


def _validate(kind: type[_ArgumentsT], arguments: Mapping[str, Any]) -> _ArgumentsT:
    return validate_request(kind, dict(arguments))


def _may(scope: Scope) -> bool:
    granted = current_client().granted
    return granted is None or is_granted(scope, granted)


def _now_and_then(on_progress: OnProgress) -> models.OnTokens:
    told_s = time.monotonic()

    async def tell(count: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_EVERY_S:
            told_s = time.monotonic()
            await on_progress(ToolProgress(float(count)))

    return tell


def _rename(name: str) -> str:
    return f"tool__{name}" if name in _OWN else name


def _describe(name: str, own: _Own) -> types.Tool:
    return types.Tool(
        name=name,
        description=own.description,
        input_schema=own.arguments.model_json_schema(),
        output_schema=_output_schema(own.output),
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _output_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """With the type itself at the root, as the protocol asks for."""
    (_,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    root: dict[str, Any] = definitions.pop(kind.__name__)
    return {**root, "$defs": definitions} if definitions else root


def _describe_exported(tool: Tool) -> types.Tool:
    return types.Tool(
        name=_rename(tool.spec.name),
        description=tool.spec.description,
        input_schema={"type": "object", **tool.spec.parameters},
        annotations=types.ToolAnnotations(
            read_only_hint="write" not in tool.spec.effects,
            idempotent_hint=tool.spec.is_idempotent,
            open_world_hint="network" in tool.spec.effects,
        ),
    )


def _show(answer: msgspec.Struct) -> types.CallToolResult:
    text = answer.text if isinstance(answer, models.ChatAnswer) else msgspec.json.encode(answer)
    shown = _say(text if isinstance(text, str) else text.decode())
    return shown.model_copy(update={"structured_content": models.to_json(answer)})


def _say(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def _fail(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
