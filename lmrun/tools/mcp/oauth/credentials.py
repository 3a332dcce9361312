"""What came of a login, and where it is kept: one credential for each server, and for that server
alone. It asks nobody for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from lmrun.store.mcp_secrets import McpSecrets

log = logging.getLogger("lmrun.tools.mcp")


class Registration(msgspec.Struct, frozen=True, omit_defaults=True):
    """How lmrun is known to an authorization server. `method`: how it says who it is."""

    client_id: str
    client_secret: str | None = None
    method: str | None = None

    def __repr__(self) -> str:
        return f"Registration({self.client_id!r}, ***)"


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """`url`: the MCP server's, as it was declared; for any other this is no credential. `resource`:
    what it was given for. `expires_at`: seconds since 1970; None: not known."""

    url: str
    resource: str
    issuer: str
    token_endpoint: str
    registration: Registration
    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    scope: str | None = None

    def __repr__(self) -> str:
        return f"Credential(for {self.resource!r}, ***)"


class Credentials:
    """Those of the applied profile. `find_root`: its file, None without one."""

    def __init__(self, secrets: McpSecrets, find_root: Callable[[], Path | None]) -> None:
        self._secrets = secrets
        self._find_root = find_root

    async def read(self, server: str, url: str) -> Credential | None:
        """None where nobody has logged in to `server` at `url`. Raises StoreError."""
        root = self._find_root()
        if root is None:
            return None
        content = await asyncio.to_thread(self._secrets.read, str(root), server)
        if content is None:
            return None
        try:
            credential = msgspec.json.decode(content, type=Credential)
        except msgspec.MsgspecError:
            log.warning("mcp server %s: its credential cannot be read; it counts as none", server)
            return None
        return credential if credential.url == url else None

    async def forget(self, server: str) -> bool:
        """Whether there was one for `server`, at whichever URL. Raises StoreError."""
        root = self._find_root()
        if root is None:
            return False
        return await asyncio.to_thread(self._secrets.remove, str(root), server)

    async def write(self, server: str, credential: Credential) -> None:
        """In place of the former one. Raises StoreError."""
        root = self._find_root()
        if root is not None:
            content = msgspec.json.encode(credential)
            await asyncio.to_thread(self._secrets.write, str(root), server, content)
