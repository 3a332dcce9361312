"""Where people deal with MCP servers: what they are, what is agreed to, logging in. It decides
nothing: approvals know what was agreed to, the host runs the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from importlib import import_module
from pathlib import Path
from typing import Protocol

import msgspec

from lmrun.errors import LmrunError, LockMismatch, McpNotFound, StoreError
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.lock import LockedServer, lock_path, parse_lock
from lmrun.profile.tooling.effective import is_allowed
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.consent import ToolDefinition
from lmrun.tools.mcp.listing import find_fault
from lmrun.tools.mcp.oauth.credentials import Credentials
from lmrun.tools.mcp.pins.approvals import Approvals
from lmrun.tools.mcp.reports import (
    LoggedOut,
    LoginDone,
    LoginEvent,
    McpReview,
    McpServerReport,
    McpServers,
    McpToolReport,
)
from lmrun.tools.mcp.status import ServerStatus, ToolStatus


class Servers(Protocol):
    """Those that run."""

    def statuses(self) -> Mapping[str, ServerStatus]: ...

    async def definitions(self, server: str) -> Sequence[ToolDefinition]:
        """Its tools as it describes them. Raises what starting it raises."""
        ...

    def recheck(self, server: str | None = None) -> None:
        """What was agreed to may have changed."""

    def give_up(self, server: str, reason: str) -> None:
        """End its session, if it has one. Raises McpError for a server that nobody declared."""


class McpDesk:
    """`find_loaded`: the applied profile. Every method with a name raises McpNotFound for a server
    that it does not declare."""

    def __init__(
        self,
        host: Servers,
        approvals: Approvals,
        credentials: Credentials,
        find_loaded: Callable[[], LoadedProfile | None],
    ) -> None:
        self._host = host
        self._approvals = approvals
        self._credentials = credentials
        self._find_loaded = find_loaded

    async def servers(self) -> McpServers:
        """Every declared server, as it is now."""
        loaded, statuses = self._find_loaded(), self._host.statuses()
        configs = loaded.profile.mcp_servers if loaded is not None else {}
        reports = [
            await self._report(name, config, statuses.get(name) or ServerStatus(name, "stopped"))
            for name, config in configs.items()
        ]
        return McpServers(tuple(reports))

    async def review(self, server: str) -> McpReview:
        """What there is to agree to. Starts the server where somebody has agreed to that, to learn
        of its tools. Raises McpUnreachable where there is no such program, LockMismatch for a lock
        file that cannot be read, and StoreError."""
        config, directory = self._find(server)
        locked = await self._read_locked(server)
        identity = await self._approvals.review_identity(server, config, directory)
        if locked is not None:
            is_locked = locked.identity == identity.digest
            identity = msgspec.structs.replace(identity, is_locked=is_locked)
        if identity.standing != "approved":
            return McpReview(server, identity)
        try:
            listed = await self._host.definitions(server)
        except LmrunError as error:
            return McpReview(server, identity, problem=str(error))
        offered = [it for it in listed if is_allowed(config, it.name) and find_fault(it) is None]
        tools = self._approvals.review_tools(server, offered)
        if locked is not None:
            tools = tuple(
                msgspec.structs.replace(it, is_locked=locked.tools.get(it.name) == it.digest)
                for it in tools
            )
        return McpReview(server, identity, tools)

    async def approve(
        self, server: str, identity: str | None, tools: Mapping[str, str]
    ) -> McpReview:
        """Agree to what was shown, by its digests, and what there is to agree to after that.
        Raises McpChanged beside what `review` raises; for tools also what starting the server
        raises."""
        config, directory = self._find(server)
        if identity is not None:
            await self._approvals.approve_identity(server, config, directory, identity)
            self._recheck(server)
        if tools:
            listed = await self._host.definitions(server)
            await self._approvals.approve_tools(server, listed, tools)
            self._recheck(server)
        return await self.review(server)

    async def log_in(self, server: str) -> AsyncGenerator[LoginEvent, None]:
        """Where somebody has to go, then what came of it; closing it gives up. Raises
        McpLoginFailed, OutboundRefused, OutboundFailed and StoreError."""
        config, _ = self._find(server)
        # Imported late, and beside the event loop: it brings the protocol's library along.
        login = await asyncio.to_thread(import_module, "lmrun.tools.mcp.oauth.login")
        async with aclosing(login.log_in(server, config, self._credentials)) as events:
            async for event in events:
                if isinstance(event, LoginDone):
                    self._recheck(server)
                yield event

    async def log_out(self, server: str) -> LoggedOut:
        """Forget the credential and the registration, and end the session that has them. A server
        that is not declared any more may have left some. Raises StoreError."""
        was_logged_in = await self._credentials.forget(server)
        if not was_logged_in:
            self._find(server)
        elif server in self._host.statuses():
            self._host.give_up(server, "Somebody has logged out.")
        return LoggedOut(server, was_logged_in)

    def _find(self, server: str) -> tuple[McpServerConfig, Path]:
        loaded = self._find_loaded()
        if loaded is None or server not in loaded.profile.mcp_servers:
            names = sorted(loaded.profile.mcp_servers) if loaded is not None else []
            raise McpNotFound(
                f"The applied profile declares no MCP server {server!r}.",
                hint=f"It declares {', '.join(names) or 'none'}.",
            )
        return loaded.profile.mcp_servers[server], loaded.mcp_dirs[server]

    async def _read_locked(self, server: str) -> LockedServer | None:
        """What the lock file beside the profile pins of it: nothing, where it does not have it;
        None where there is no lock file. Raises LockMismatch for one that cannot be read."""
        loaded = self._find_loaded()
        if loaded is None:
            return None
        where = lock_path(loaded.root)
        try:
            content = await asyncio.to_thread(where.read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LockMismatch(f"{where}: {error.strerror}.") from error
        locked = parse_lock(content, where).mcp_servers
        return locked.get(server, LockedServer(identity=None, tools={}))

    def _recheck(self, server: str) -> None:
        # The host may still have to hear of a profile that was applied just now.
        if server in self._host.statuses():
            self._host.recheck(server)

    async def _report(
        self, name: str, config: McpServerConfig, status: ServerStatus
    ) -> McpServerReport:
        return McpServerReport(
            name=name,
            transport="stdio" if config.url is None else config.transport,
            state=status.state,
            protocol=status.protocol_version,
            tools=tuple(map(_report_tool, status.tools)),
            fault=status.error,
            restarts=status.restarts,
            is_logged_in=await self._is_logged_in(name, config),
        )

    async def _is_logged_in(self, name: str, config: McpServerConfig) -> bool | None:
        if config.oauth is None or config.url is None:
            return None
        with suppress(StoreError):
            return await self._credentials.read(name, config.url) is not None
        return False


def _report_tool(tool: ToolStatus) -> McpToolReport:
    fault = tool.fault
    if fault is None:
        return McpToolReport(tool.tool)
    return McpToolReport(tool.tool, fault.kind, str(fault), fault.diff)
