"""Tools of MCP servers as tools of lmrun's. Whatever a server does, a call of them has a result."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from lmrun.errors import McpNotApproved
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.connection import Connection
from lmrun.tools.mcp.consent import ToolDefinition
from lmrun.tools.mcp.explaining import SESSION_ENDED, explain_call
from lmrun.tools.mcp.listing import Offered
from lmrun.tools.mcp.results import make_resource_text, make_result, make_text_result
from lmrun.tools.mcp.server import McpServer
from lmrun.tools.tool import OnProgress, ToolProgress, ToolResult, ToolSpec

MAX_PROGRESS_TEXT = 300
PROGRESS_PAUSE_S = 0.05
MAX_LISTED_RESOURCES = 100
MAX_URI = 500

log = logging.getLogger("lmrun.tools.mcp")


class McpTool:
    """A tool of a server. Its call fails where it is no longer what the model was told."""

    def __init__(self, server: McpServer, offered: Offered) -> None:
        self._server = server
        self._spec = offered.spec
        self._definition = offered.definition

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """Have the server do it."""
        config = self._server.config

        async def ask(connection: Connection) -> ToolResult:
            if self._definition is None:
                text = await _read_resource(connection, arguments)
                return make_text_result(
                    text, None, max_output=config.max_output, is_untrusted=config.untrusted
                )
            result = await self._ask(connection, self._definition, arguments, on_progress)
            return make_result(
                result,
                self._definition.output_schema,
                max_output=config.max_output,
                is_untrusted=config.untrusted,
            )

        return await _result_of(self._server, self._check, ask)

    async def _ask(
        self,
        connection: Connection,
        definition: ToolDefinition,
        arguments: Mapping[str, Any],
        on_progress: OnProgress,
    ) -> CallToolResult:
        tell = _throttled(on_progress)
        if not definition.needs_task:
            return await connection.call(definition.name, arguments, tell)

        def note_answer() -> None:
            # One whose tasks take too long is not silent.
            self._server.note_call(was_silent=False)

        timeout_s = self._server.config.timeout
        return await connection.tasks.call(
            definition.name, arguments, timeout_s, tell, on_answer=note_answer
        )

    async def _check(self) -> None:
        """Raises McpNotApproved where the tool is not, or is no longer, what the model knows."""
        if self._definition is None:
            return
        now = find_unchanged(self._definition, await self._server.definitions())
        fault = self._server.may_use(now)
        if fault is not None:
            raise McpNotApproved(fault.message, hint=fault.hint)


def find_unchanged(known: ToolDefinition, listed: tuple[ToolDefinition, ...]) -> ToolDefinition:
    """The tool as the server lists it now. Raises McpNotApproved unless it is as it is known."""
    now = next((it for it in listed if it.name == known.name), None)
    if now is None:
        raise McpNotApproved("The server does not have this tool any more.")
    if now != known:
        raise McpNotApproved("The tool has changed since you were told of it; it was not called.")
    return now


async def _result_of(
    server: McpServer,
    check: Callable[[], Awaitable[None]],
    ask: Callable[[Connection], Awaitable[ToolResult]],
) -> ToolResult:
    """What `ask` gives, or what became of it instead. Where the server has forgotten the session,
    and so done nothing, it is asked again."""
    for is_again in (False, True):
        connection: Connection | None = None
        is_asked = False
        try:
            connection = await server.connection()
            await check()
            async with server.deadlines.within(server.config.timeout):
                is_asked = True
                result = await ask(connection)
        except Exception as error:
            if is_asked and not is_again and is_forgotten(error, server):
                server.give_up("It has forgotten the session.")
                continue
            return await _explain(server, connection if is_asked else None, error)
        server.note_call(was_silent=False)
        return result
    raise AssertionError("the second time ends in a result")


def is_forgotten(error: Exception, server: McpServer) -> bool:
    """Whether the server no longer knows the session, so that it has done nothing."""
    is_said = isinstance(error, MCPError) and error.message == SESSION_ENDED
    return is_said and server.config.url is not None


async def _explain(
    server: McpServer, connection: Connection | None, error: Exception
) -> ToolResult:
    """`connection`: over which it was asked; None: it was not."""
    config = server.config
    kind, text = explain_call(error)
    is_lost = connection is not None and connection.lost.is_set()
    if connection is not None:
        server.note_call(was_silent=kind == "timeout")
        if kind == "disabled":
            server.note_change()
    if is_lost:
        kind = "crashed" if config.command is not None else "unreachable"
        text = f"The server was gone before it answered: {await server.describe_loss()}"
    if kind == "timeout":
        text = f"There was no answer within {config.timeout:g} s."
    log.info("a call of MCP server %s failed (%s): %s", server.name, kind, clean_line(text, 300))
    is_untrusted = connection is not None and config.untrusted
    return make_text_result(text, kind, max_output=config.max_output, is_untrusted=is_untrusted)


async def _read_resource(connection: Connection, arguments: Mapping[str, Any]) -> str:
    uri = arguments.get("uri")
    if uri is not None:
        return make_resource_text(await connection.read_resource(str(uri)))
    resources = await connection.list_resources(MAX_LISTED_RESOURCES)
    # Templates are told here, as content of the server's, and not in the tool's description, of
    # which models take more on trust: nobody has approved what they say.
    templates = await connection.list_templates(MAX_LISTED_RESOURCES)
    lines = [_describe(it.uri, it.description or it.name) for it in resources]
    if templates:
        lines.append("Templates, whose braces are to be filled in:")
        lines += [_describe(it.uri_template, it.description or it.name) for it in templates]
    return "\n".join(lines) or "There are no resources."


def _describe(uri: str, text: str) -> str:
    return f"{clean_line(uri, MAX_URI)}: {clean_line(text, 200)}"


def _throttled(on_progress: OnProgress) -> ProgressFnT:
    """Passes on what a person could follow, and the last word."""
    last_s = -PROGRESS_PAUSE_S

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s < PROGRESS_PAUSE_S and progress != total:
            return
        last_s = now_s
        text = clean_line(message, MAX_PROGRESS_TEXT) if message is not None else None
        on_progress(ToolProgress(progress, total, text))

    return tell
