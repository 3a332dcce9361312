"""What a lock file pins of MCP servers: what was agreed to here. It needs no server to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from lmrun.errors import McpNotApproved, McpUnreachable
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.lock import LockedServer
from lmrun.profile.tooling.effective import is_allowed
from lmrun.store.home import Home
from lmrun.store.mcp_pins import McpPins
from lmrun.tools.mcp.pins.identity import IdentityReader, find_written


class ServerPinner:
    """`environment`: of whoever starts the servers."""

    def __init__(self, pins: McpPins, environment: Mapping[str, str]) -> None:
        self._pins = pins
        self._reader = IdentityReader(environment)

    def pin_approved(self, loaded: LoadedProfile) -> dict[str, LockedServer]:
        """By server: what somebody agreed to, which is what it is now. Raises McpNotApproved where
        that is not so, McpUnreachable for a missing program, and StoreError."""
        locked = {}
        for server in loaded.profile.mcp_servers:
            identity = self._read_identity(loaded, server)
            pinned = self._pins.read(str(loaded.root), server).server
            if pinned is None or pinned.digest != identity:
                state = "has not been approved" if pinned is None else "is not what was approved"
                raise McpNotApproved(
                    f"MCP server {server!r} {state}; only what was can be locked.",
                    hint=f"Apply the profile, then `lmrun mcp approve {server}`.",
                )
            locked[server] = LockedServer(identity, self._read_tools(loaded, server))
        return locked

    def pin_present(self, loaded: LoadedProfile) -> dict[str, LockedServer]:
        """By server: what it is now, and those of its tools that somebody agreed to. Raises
        StoreError."""
        present = {}
        for server in loaded.profile.mcp_servers:
            identity = None
            with suppress(McpUnreachable):
                identity = self._read_identity(loaded, server)
            present[server] = LockedServer(identity, self._read_tools(loaded, server))
        return present

    def _read_identity(self, loaded: LoadedProfile, server: str) -> str:
        config, directory = loaded.profile.mcp_servers[server], loaded.mcp_dirs[server]
        written = find_written(loaded.written, server)
        return self._reader.read(config, directory, loaded.root, written).digest

    def _read_tools(self, loaded: LoadedProfile, server: str) -> dict[str, str]:
        config = loaded.profile.mcp_servers[server]
        pinned = self._pins.read(str(loaded.root), server).tools
        return {name: pin.digest for name, pin in pinned.items() if is_allowed(config, name)}


@contextmanager
def open_pinner(home: Home, environment: Mapping[str, str]) -> Iterator[ServerPinner]:
    """What was approved in `home`, for whoever looks without a server; a home where nothing was is
    left as it is. Raises StoreError."""
    pins = McpPins(home.mcp_pins if home.mcp_pins.exists() else None)
    try:
        yield ServerPinner(pins, environment)
    finally:
        pins.close()
