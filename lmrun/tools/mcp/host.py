"""All declared MCP servers side by side: their tools, resources and prompts. What one does is no
matter to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from lmrun.chat.messages import Message
from lmrun.errors import LmrunError, McpError, McpProtocol, McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.questions import Elicit
from lmrun.tools.mcp.backoff import DEFAULT_BACKOFF, Backoff
from lmrun.tools.mcp.cleaning import clean, clean_line
from lmrun.tools.mcp.connection import Connection
from lmrun.tools.mcp.consent import Consent, ToolDefinition
from lmrun.tools.mcp.explaining import explain_call
from lmrun.tools.mcp.listing import MAX_TOOLS, Offer, make_offer
from lmrun.tools.mcp.results import make_messages, make_resource_text
from lmrun.tools.mcp.server import McpServer
from lmrun.tools.mcp.status import ServerStatus, ToolStatus
from lmrun.tools.mcp.surroundings import MakeAuth, Surroundings, no_auth
from lmrun.tools.mcp.tools import McpTool
from lmrun.tools.models import Models
from lmrun.tools.output import clean_output
from lmrun.tools.tool import Tool

MAX_DESCRIBED = 1000

AnsweredT = TypeVar("AnsweredT")


class McpResource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource that a server lists."""

    uri: str
    name: str
    description: str | None = None
    mime_type: str | None = None


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


class McpHost:
    """`environment`: lmrun's own, of which servers see little. `models` answer sampling, `elicit`
    puts questions to somebody, None: nobody is there. `consent`: what was agreed to. `make_auth`:
    how requests to remote servers say who they are from. `on_change`: their statuses have
    changed."""

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
    ) -> None:
        self._surroundings = Surroundings(
            environment, models, consent, elicit, make_auth, backoff, on_change
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
                description=_describe(resource.description),
                mime_type=resource.mime_type,
            )
            for resource in listed
        ]

    async def read_resource(self, server: str, uri: str) -> str:
        """A resource as text for a conversation, bounded by the server's `max_output`. Raises
        McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "resources")
        contents = await self._ask(it, lambda session: session.read_resource(uri))
        return clean_output(make_resource_text(contents), it.config.max_output)[0]

    async def list_prompts(self, server: str) -> Sequence[McpPrompt]:
        """Its first prompts. Raises McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "prompts")
        listed = await self._ask(it, lambda session: session.list_prompts(MAX_TOOLS))
        return [
            McpPrompt(
                name=prompt.name,
                description=_describe(prompt.description),
                arguments=tuple(
                    McpPromptArgument(
                        one.name, _describe(one.description), is_required=bool(one.required)
                    )
                    for one in prompt.arguments or ()
                ),
            )
            for prompt in listed
        ]

    async def get_prompt(
        self, server: str, name: str, arguments: Mapping[str, str]
    ) -> tuple[Message, ...]:
        """A prompt with its blanks filled in, as messages to begin a conversation with. Raises
        McpError, OutboundRefused and OutboundFailed."""
        it = self._find(server, "prompts")
        return make_messages(
            await self._ask(it, lambda session: session.get_prompt(name, arguments))
        )

    def recheck(self, server: str | None = None) -> None:
        """What was agreed to has changed, about one server or all. Raises McpError."""
        for it in self._servers.values() if server is None else [self._find(server)]:
            it.recheck()
        self._surroundings.on_change()

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
        """Something other than a call of a tool, within the time for one."""
        connection = await server.connection()
        try:
            async with server.deadlines.within(server.config.timeout):
                return await ask(connection)
        except Exception as error:
            if connection.lost.is_set():
                raise McpUnreachable(
                    f"MCP server {server.name!r} was gone before it answered: "
                    f"{await server.describe_loss()}"
                ) from error
            kind, text = explain_call(error)
            is_silent = kind in ("timeout", "unreachable")
            raise (McpUnreachable if is_silent else McpProtocol)(
                f"MCP server {server.name!r}: {text}"
            ) from error


def _offer(server: McpServer) -> Offer:
    return make_offer(
        server.name,
        server.config,
        server.known_definitions,
        server.may_use,
        has_resources=server.has_resources,
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


def _describe(text: str | None) -> str | None:
    return clean(text[:MAX_DESCRIBED]) if text else None
