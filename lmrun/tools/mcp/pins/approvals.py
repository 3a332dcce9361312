"""Who agreed to what about the MCP servers of the applied profile. It starts no server and asks
nobody: it answers whether something was agreed to, shows what is to be agreed to, and writes it
down.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import LmrunError, McpChanged, McpNotApproved, StoreError
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.store.mcp_pins import NOTHING_PINNED, McpPins, Pin, ServerPins
from lmrun.tools.mcp.consent import Fault, ToolDefinition
from lmrun.tools.mcp.pins.definitions import (
    canonical,
    digest_of,
    find_difference,
    find_hidden,
    show_definition,
)
from lmrun.tools.mcp.pins.identity import (
    NOTHING_WRITTEN,
    IdentityReader,
    ServerIdentity,
    Written,
    decode_identity,
    find_changes,
    show_identity,
)
from lmrun.tools.mcp.reports import IdentityReview, ToolReview

log = logging.getLogger("lmrun.tools.mcp")

FindWritten = Callable[[str, McpServerConfig], Written | None]

_MAX_VERDICTS = 4096
"""Of tools; a server may rename its own as often as it likes."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found of a tool, for as long as it and its pin are the same objects: it is asked in
    every round of every run."""

    definition: ToolDefinition
    pinned: Pin | None
    fault: Fault | None


class Approvals:
    """The consent that an MCP host asks for, kept in `pins`.

    `find_root`: the applied profile's file, None without one. `environment`: the server's own.
    `find_written`: what the applied profile says of a server where it has references, None where
    it declares that server otherwise.
    """

    def __init__(
        self,
        pins: McpPins,
        environment: Mapping[str, str],
        find_root: Callable[[], Path | None],
        find_written: FindWritten = lambda server, config: NOTHING_WRITTEN,
    ) -> None:
        self._pins = pins
        self._find_root = find_root
        self._find_written = find_written
        self._reader = IdentityReader(environment)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], ServerPins] = {}
        self._verdicts: dict[tuple[str, str], _Verdict] = {}
        self._refusals: dict[str, str] = {}

    def may_start(self, server: str, config: McpServerConfig, directory: Path) -> Fault | None:
        """Whether somebody has agreed to the server as it is now; logged when that is news."""
        try:
            pinned = self._read_pins(server).server
            identity = self._read_identity(server, config, directory)
        except LmrunError as error:
            fault = Fault("needs_approval", error.message, error.hint)
        else:
            if pinned is not None and pinned.digest == identity.digest:
                self._refusals.pop(server, None)
                return None
            fault = _refuse_start(server, pinned, identity)
        if self._refusals.get(server) != fault.message:
            self._refusals[server] = fault.message
            log.warning("mcp server %s: %s: %s", server, fault.kind, fault)
        return fault

    def may_use(self, server: str, definition: ToolDefinition) -> Fault | None:
        """Whether somebody has agreed to the tool as its server describes it now; logged when it
        has changed."""
        key = (server, definition.name)
        try:
            pinned = self._read_pins(server).tools.get(definition.name)
        except StoreError as error:
            return Fault("needs_approval", error.message, error.hint)
        known = self._verdicts.get(key)
        if known is not None and known.definition is definition and known.pinned is pinned:
            return known.fault
        fault = _judge_tool(server, definition, pinned)
        is_news = known is None or known.fault != fault
        if is_news and fault is not None and fault.kind == "drift":
            log.warning("mcp server %s: tool %s: drift: %s", server, definition.name, fault)
        if len(self._verdicts) >= _MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[key] = _Verdict(definition, pinned, fault)
        return fault

    async def review_identity(
        self, server: str, config: McpServerConfig, directory: Path
    ) -> IdentityReview:
        """What `may_start` is about. Raises McpUnreachable when there is no such program, and
        StoreError."""
        identity = await asyncio.to_thread(self._read_identity, server, config, directory)
        pinned = self._read_pins(server).server
        if pinned is not None and pinned.digest == identity.digest:
            return IdentityReview(identity.digest, "approved", show_identity(identity))
        return IdentityReview(
            identity.digest,
            "new" if pinned is None else "changed",
            show_identity(identity),
            () if pinned is None else find_changes(decode_identity(pinned.content), identity),
        )

    def review_tools(
        self, server: str, definitions: Iterable[ToolDefinition]
    ) -> tuple[ToolReview, ...]:
        """What `may_use` is about. Raises StoreError."""
        pinned = self._read_pins(server).tools
        return tuple(_review_tool(it, pinned.get(it.name)) for it in definitions)

    async def approve_identity(
        self, server: str, config: McpServerConfig, directory: Path, digest: str
    ) -> None:
        """Agree to the server as `digest` names it. Raises McpChanged when it is not that any more,
        McpUnreachable and StoreError."""
        identity = await asyncio.to_thread(self._read_identity, server, config, directory)
        if identity.digest != digest:
            raise McpChanged(
                f"MCP server {server!r} has changed since it was shown; nothing was approved.",
                hint=f"Look at it again: `lmrun mcp approve {server}`.",
            )
        pin = Pin(digest, identity.encode())
        root = str(self._root())
        await asyncio.to_thread(self._pins.approve_server, root, server, pin)
        self._forget(server)
        log.info("mcp server %s: approved, as %s", server, digest)

    async def approve_tools(
        self, server: str, definitions: Iterable[ToolDefinition], digests: Mapping[str, str]
    ) -> None:
        """Agree to tools as `digests` name them, all or none. `definitions`: what the server says
        now. Raises McpChanged when one is not that any more, and StoreError."""
        described = {it.name: it.to_json() for it in definitions}
        pins: dict[str, Pin] = {}
        for name, digest in digests.items():
            definition = described.get(name)
            if definition is None or digest_of(definition) != digest:
                raise McpChanged(
                    f"Tool {name!r} of MCP server {server!r} has changed since it was shown; "
                    "nothing was approved.",
                    hint=f"Look at it again: `lmrun mcp approve {server}`.",
                )
            pins[name] = Pin(digest, canonical(definition))
        await asyncio.to_thread(self._pins.approve_tools, str(self._root()), server, pins)
        self._forget(server)
        log.info("mcp server %s: tools approved: %s", server, ", ".join(pins))

    def _read_identity(
        self, server: str, config: McpServerConfig, directory: Path
    ) -> ServerIdentity:
        written = self._find_written(server, config)
        if written is None:
            # Until it is taken up, nobody knows which values of the old one came from references.
            raise McpNotApproved(
                f"Another profile declares MCP server {server!r} otherwise now.",
                hint="It is looked at again when that profile has been taken up.",
            )
        return self._reader.read(config, directory, self._root(), written)

    def _read_pins(self, server: str) -> ServerPins:
        root = self._find_root()
        if root is None:
            return NOTHING_PINNED
        key = (str(root), server)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self._pins.read(*key)
            with self._lock:
                self._known[key] = known
        return known

    def _root(self) -> Path:
        root = self._find_root()
        if root is None:
            raise LmrunError("No profile is applied.", hint="`lmrun apply PROFILE` does it.")
        return root

    def _forget(self, server: str) -> None:
        with self._lock:
            self._known.pop((str(self._root()), server), None)


def _refuse_start(server: str, pinned: Pin | None, identity: ServerIdentity) -> Fault:
    hint = f"`lmrun mcp approve {server}` shows what it is, and asks."
    if pinned is None:
        return Fault("needs_approval", f"MCP server {server!r} has not been approved.", hint)
    changes = find_changes(decode_identity(pinned.content), identity)
    message = f"MCP server {server!r} is not what was approved: {'; '.join(changes)}."
    return Fault("needs_approval", message, hint, "\n".join(changes))


def _judge_tool(server: str, definition: ToolDefinition, pinned: Pin | None) -> Fault | None:
    described = definition.to_json()
    tool = f"Tool {definition.name!r} of MCP server {server!r}"
    hint = f"`lmrun mcp approve {server}` shows it, and asks."
    if pinned is None:
        return Fault("needs_approval", f"{tool} has not been approved.", hint)
    if pinned.digest == digest_of(described):
        return None
    diff = "\n".join(find_difference(json.loads(pinned.content), described))
    return Fault("drift", f"{tool} has changed since it was approved.", hint, diff)


def _review_tool(definition: ToolDefinition, pinned: Pin | None) -> ToolReview:
    described = definition.to_json()
    digest = digest_of(described)
    text, hidden = show_definition(described), find_hidden(described)
    if pinned is None:
        return ToolReview(definition.name, digest, "new", text, hidden)
    if pinned.digest == digest:
        return ToolReview(definition.name, digest, "approved", text, hidden)
    diff = find_difference(json.loads(pinned.content), described)
    return ToolReview(definition.name, digest, "changed", text, hidden, diff)
