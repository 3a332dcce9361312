"""All declared MCP servers side by side: their tools, resources and prompts. What one does is no
matter to the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from lmrun.chat.messages import ImagePart, Message, TextPart
from lmrun.errors import LmrunError, McpError, McpProtocol, McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.questions import Elicit
from lmrun.tools.mcp.backoff import DEFAULT_BACKOFF, Backoff
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.connection import Connection
from lmrun.tools.mcp.consent import Consent, ToolDefinition
from lmrun.tools.mcp.explaining import explain_call
from lmrun.tools.mcp.listing import MAX_TOOLS, Offer, make_offer
from lmrun.tools.mcp.prompts import (
    MAX_DESCRIBED,
    McpPrompt,
    as_prompt,
    describe,
    join_names,
    require_fit,
)
from lmrun.tools.mcp.results import make_context, make_messages
from lmrun.tools.mcp.server import McpServer
from lmrun.tools.mcp.status import ServerStatus, ToolStatus
from lmrun.tools.mcp.surroundings import MakeAuth, Surroundings, no_auth
from lmrun.tools.mcp.tools import McpTool, is_forgotten
from lmrun.tools.models import Models
from lmrun.tools.tool import Tool

AnsweredT = TypeVar("AnsweredT")


class McpResource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource that a server lists."""

    uri: str
    name: str
    description: str | None = None
    mime_type: str | None = None


class McpHost:
    """`environment`: lmrun's own, of which servers see little. `models` answer sampling, `elicit`
    puts questions to somebody, None: nobody is there. `consent`: what was agreed to. `make_auth`:
    how requests to remote servers say who they are from. `on_change`: their statuses have
    changed. `are_declared`: in the profile; otherwise a request brings them along."""

    def __init__(
        self,
        environment: Mapping[str, str],
        models: Models,
        consent: Consent,
        *,
        elicit: Elicit | None = None,
        make_auth: MakeAuth = no_auth,
        backoff: Backoff = DEFAULT_BACKOFF,
        on_change: Callable[[], None] = lambda: None,
        are_declared: bool = True,
    ) -> None:
        self._surroundings = Surroundings(
            environment, models, consent, elicit, make_auth, backoff, on_change, are_declared
        )
        self._servers: dict[str, McpServer] = {}

    async def adopt(self, configs: Mapping[str, McpServerConfig], dirs: Mapping[str, Path]) -> None:
        """Declare these servers and no others. `dirs`: of the profile file that declares each. A
        server for which nothing changes that its session depends on keeps it; the others' are
        ended, and begun again when they are needed."""
        old, self._servers = self._servers, {}
        ending: list[McpServer] = []
        for name, config in configs.items():
            server = old.pop(name, None)
            if server is not None and not await server.adopt(config, dirs[name]):
                ending.append(server)
                server = None
            self._servers[name] = server or McpServer(name, config, dirs[name], self._surroundings)
        await asyncio.gather(*(server.close() for server in (*ending, *old.values())))
        await asyncio.gather(*(server.look() for server in self._servers.values()))

    async def tools(self, server: str) -> Sequence[Tool]:
        """What it offers now; none where it cannot be started, which its status explains. Starts
        it when that is needed. Raises McpError for a server that nobody declared."""
        it = self._find(server)
        if not it.config.tools.allow and not it.config.resources:
            return ()
        try:
            await it.definitions()
        except LmrunError:
            return ()
        return [McpTool(it, offered) for offered in _offer(it).tools]

    async def definitions(self, server: str) -> Sequence[ToolDefinition]:
        """All tools as the server itself describes them, offered or not. Starts it when that is
        needed and allowed. Raises McpError, OutboundRefused and OutboundFailed."""
        return await self._find(server).definitions()

    async def list_resources(self, server: str) -> Sequence[McpResource]:
        """Its first resources. Raises McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "resources")
        listed = await self._ask(it, lambda session: session.list_resources(MAX_TOOLS))
        return [
            McpResource(
                uri=resource.uri,
                name=clean_line(resource.name, MAX_DESCRIBED),
                description=describe(resource.description),
                mime_type=resource.mime_type,
            )
            for resource in listed
        ]

    async def read_resource(self, server: str, uri: str) -> str | tuple[TextPart | ImagePart, ...]:
        """A resource for a conversation, its text bounded by the server's `max_output`. Raises
        McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "resources")
        try:
            contents = await self._ask(it, lambda session: session.read_resource(uri))
        except McpProtocol as error:
            # What it has instead is worth a second question.
            with contextlib.suppress(LmrunError):
                listed = await self.list_resources(server)
                error.hint = f"It lists {join_names(it.uri for it in listed)}."
            raise
        return make_context(contents, it.config.max_output)

    async def list_prompts(self, server: str) -> Sequence[McpPrompt]:
        """Its first prompts. Raises McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "prompts")
        listed = await self._ask(it, lambda session: session.list_prompts(MAX_TOOLS))
        return [as_prompt(prompt) for prompt in listed]

    async def get_prompt(
        self, server: str, name: str, arguments: Mapping[str, str]
    ) -> tuple[Message, ...]:
        """A prompt with its blanks filled in, as messages to begin a conversation with. Raises
        McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "prompts")
        listed = await self.list_prompts(server)
        require_fit(listed, name, arguments, is_whole=len(listed) < MAX_TOOLS)
        found = await self._ask(it, lambda session: session.get_prompt(name, arguments))
        return make_messages(found, it.config.max_output)

    def recheck(self, server: str | None = None) -> None:
        """What was agreed to has changed, about one server or all. Raises McpError."""
        for it in self._servers.values() if server is None else [self._find(server)]:
            it.recheck()
        self._surroundings.on_change()

    def give_up(self, server: str, reason: str) -> None:
        """End its session, if it has one; it is begun again when it is needed. Raises McpError."""
        self._find(server).give_up(reason)

    def statuses(self) -> dict[str, ServerStatus]:
        """Every declared server, by name."""
        return {name: _show(server) for name, server in self._servers.items()}

    async def close(self) -> None:
        """End every server; none of their processes is left."""
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.close() for server in servers.values()))

    def _find(self, name: str, feature: str | None = None) -> McpServer:
        server = self._servers.get(name)
        if server is None:
            known = ", ".join(sorted(self._servers)) or "none"
            raise McpError(f"No MCP server is called {name!r}.", hint=f"Declared are: {known}.")
        if feature is not None and not getattr(server.config, feature):
            raise McpError(
                f"The {feature} of MCP server {name!r} may not be used.",
                hint=f"Its `{feature}: true` in the profile allows it.",
            )
        return server

    async def _ask(
        self, server: McpServer, ask: Callable[[Connection], Awaitable[AnsweredT]]
    ) -> AnsweredT:
        """Something other than a call of a tool, within the time for one. Where the server has
        forgotten the session, it is asked again."""
        for is_again in (False, True):
            connection = await server.connection()
            try:
                async with server.deadlines.within(server.config.timeout):
                    found = await ask(connection)
            except Exception as error:
                if not is_again and is_forgotten(error, server):
                    server.give_up("It has forgotten the session.")
                    continue
                raise await _explain(server, connection, error) from error
            server.note_call(was_silent=False)
            return found
        raise AssertionError("the second time ends")


async def _explain(server: McpServer, connection: Connection, error: Exception) -> McpError:
    if connection.lost.is_set():
        return McpUnreachable(f"It was gone before it answered: {await server.describe_loss()}")
    kind, text = explain_call(error)
    server.note_call(was_silent=kind == "timeout")
    if kind == "timeout":
        text = f"There was no answer within {server.config.timeout:g} s."
    return (McpUnreachable if kind in ("timeout", "unreachable") else McpProtocol)(text)


def _offer(server: McpServer) -> Offer:
    return make_offer(
        server.name,
        server.config,
        server.known_definitions,
        server.may_use,
        has_resources=server.has_resources,
        does_tasks=server.does_tasks,
    )


def _show(server: McpServer) -> ServerStatus:
    status = server.status()
    if not server.is_listed:
        return status
    offer = _offer(server)
    tools = [ToolStatus(it.spec.path.rpartition("/")[2], name=it.spec.name) for it in offer.tools]
    faults = [*offer.faults, *server.malformed_tools]
    tools += [ToolStatus(tool, fault=fault) for tool, fault in faults]
    return msgspec.structs.replace(status, tools=tuple(tools))
