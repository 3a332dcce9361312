"""What somebody agreed to about MCP servers: how each is started, and what its tools say of
themselves. SQLite. It knows no server and not what a pin's content means.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.store.database import Database, Layout

_LAYOUT = Layout(
    version=1,
    pragmas=("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"),
    remedy="approve the MCP servers again (`lmrun mcp approve SERVER`)",
    schema="""
CREATE TABLE servers (
    profile TEXT NOT NULL,
    server TEXT NOT NULL,
    digest TEXT NOT NULL,
    content BLOB NOT NULL,
    approved REAL NOT NULL,
    PRIMARY KEY (profile, server)
);
CREATE TABLE tools (
    profile TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,
    content BLOB NOT NULL,
    approved REAL NOT NULL,
    PRIMARY KEY (profile, server, tool)
)
""",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """What was agreed to: `digest`, in hex, of `content`, which shows later what has changed."""

    digest: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ServerPins:
    """`server`: None when nobody has agreed to it. `tools` by name."""

    server: Pin | None = None
    tools: Mapping[str, Pin] = field(default_factory=dict)


NOTHING_PINNED = ServerPins()


class McpPins:
    """The pins of one home, by profile (the path of its root file) and server.

    Callable from any thread; every method raises StoreError.
    """

    def __init__(self, database: Path | None = None) -> None:
        """Open `database`, or create it for this user only; None: until `close`, in memory."""
        self._database = Database(database, _LAYOUT)

    def read(self, profile: str, server: str) -> ServerPins:
        """NOTHING_PINNED for a server that nobody ever agreed to."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT digest, content FROM servers WHERE profile = ? AND server = ?",
                (profile, server),
            ).fetchone()
            tools = connection.execute(
                "SELECT tool, digest, content FROM tools WHERE profile = ? AND server = ?",
                (profile, server),
            ).fetchall()
        return ServerPins(
            None if row is None else Pin(*row), {name: Pin(*rest) for name, *rest in tools}
        )

    def approve_server(self, profile: str, server: str, pin: Pin) -> None:
        """In place of what was agreed to before."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO servers (profile, server, digest, content, approved)"
                " VALUES (?, ?, ?, ?, ?)",
                (profile, server, pin.digest, pin.content, time.time()),
            )

    def approve_tools(self, profile: str, server: str, tools: Mapping[str, Pin]) -> None:
        """Each in place of what was agreed to before; pins of other tools stay."""
        now = time.time()
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO tools (profile, server, tool, digest, content, approved)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (profile, server, name, pin.digest, pin.content, now)
                    for name, pin in tools.items()
                ],
            )

    def close(self) -> None:
        self._database.close()
