"""The tools of a request that names MCP servers, opened; the client's functions among them.

It knows no run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from lmrun.api.acting.kit import Kit, Source, require_tools
from lmrun.api.acting.servers import check_headers, naming, open_declared, permit
from lmrun.api.acting.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.responses.requests.bodies import PromptRequest
from lmrun.api.responses.requests.mcp import McpTool
from lmrun.api.responses.requests.tools import to_choice
from lmrun.chat.messages import Tool as ChatTool
from lmrun.chat.request import Request, ToolChoice
from lmrun.errors import InvalidParameter
from lmrun.tools.act.loop import to_chat_tool
from lmrun.tools.mcp.ephemeral import Ephemeral, open_ephemeral
from lmrun.tools.tool import OnProgress, Tool, ToolProgress, ToolResult, Toolset, ToolSpec

_ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class _ClientTool:
    """A function that the client runs: the run ends before it would be called. Its arguments are
    the client's affair, too."""

    spec: ToolSpec

    async def call(self, arguments: Mapping[str, object], on_progress: OnProgress) -> ToolResult:
        raise AssertionError("its call is never allowed")


@dataclass(frozen=True, slots=True)
class _Announced:
    """A tool that says when it is begun."""

    tool: Tool

    @property
    def spec(self) -> ToolSpec:
        return self.tool.spec

    async def call(self, arguments: Mapping[str, object], on_progress: OnProgress) -> ToolResult:
        on_progress(ToolProgress(0.0))
        return await self.tool.call(arguments, on_progress)


@dataclass(frozen=True, slots=True)
class Workbench:
    """All tools of one request. `functions`: the client's own; `among`: the only tools that the
    request's `tool_choice` leaves, None: all."""

    kit: Kit[McpTool]
    functions: Mapping[str, ChatTool]
    choice: ToolChoice
    among: frozenset[str] | None = None

    async def tools(self) -> Sequence[Tool]:
        """As they are now: the client's functions first."""
        functions = (_ClientTool(_describe(name)) for name in self.functions)
        found: list[Tool] = [*functions, *map(_Announced, await self.kit.tools())]
        return [it for it in found if self.among is None or it.spec.name in self.among]

    async def show(self) -> tuple[ChatTool, ...]:
        """The same as models are told of them."""
        tools = await self.tools()
        return tuple(self.functions.get(it.spec.name) or to_chat_tool(it.spec) for it in tools)


@asynccontextmanager
async def open_workbench(
    workshop: Workshop, servers: Sequence[McpTool], request: PromptRequest, prompt: Request
) -> AsyncIterator[Workbench]:
    """Everything that the request may use while the block runs.

    Raises Forbidden, InvalidParameter, and McpError for a server that offers nothing.
    """
    current_client().require("tools", "A tool of the type `mcp`")
    fields = [f"tools[{n}]" for n, it in enumerate(request.tools or ()) if isinstance(it, McpTool)]
    _refuse_twice(servers, fields)
    functions = {tool.name: tool for tool in prompt.tools}
    async with AsyncExitStack() as stack:
        sources = [
            await _open(workshop, server, field, stack)
            for server, field in zip(servers, fields, strict=True)
        ]
        bench = Workbench(Kit(sources), functions, prompt.tool_choice)
        shown = await bench.show()
        _refuse_same_names(shown)
        choice, kept = to_choice(request.tool_choice, shown, parallel=prompt.tool_choice.parallel)
        among = frozenset(tool.name for tool in kept) if len(kept) < len(shown) else None
        yield Workbench(bench.kit, functions, choice, among)


async def _open(
    workshop: Workshop, server: McpTool, field: str, stack: AsyncExitStack
) -> Source[McpTool]:
    if server.server_url is None:
        toolset: Toolset = await open_declared(
            workshop, server.server_label, f"{field}.server_label"
        )
    else:
        headers = server.all_headers
        check_headers(headers, f"{field}.headers")
        is_private = permit(workshop, server.server_url, f"{field}.server_url")
        ephemeral = Ephemeral(server.server_label, server.server_url, headers, is_private)
        with naming(server.server_label, f"{field}.server_url"):
            toolset = await stack.enter_async_context(open_ephemeral(ephemeral))
    source = Source(toolset, server, field, server.allowed)
    await require_tools(source)
    return source


def _describe(name: str) -> ToolSpec:
    return ToolSpec(
        path=name,
        name=name,
        description=None,
        parameters=_ANY_OBJECT,
        policy="allow",
        effects=frozenset(),
    )


def _refuse_twice(servers: Sequence[McpTool], fields: Sequence[str]) -> None:
    labels = [server.server_label for server in servers]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            raise InvalidParameter(
                f"`{fields[index]}.server_label`: {label!r} is there already.", param="tools"
            )


def _refuse_same_names(tools: Sequence[ChatTool]) -> None:
    names = [tool.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidParameter(
                f"`tools`: a function is called {name!r}, as a server's tool is.", param="tools"
            )
