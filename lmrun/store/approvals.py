"""Calls of tools that somebody has agreed to for good, in SQLite. It knows no tool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lmrun.store.database import Database, Layout

KEPT_APPROVALS = 10_000
"""Those that were given last; the rest is forgotten, and asked for again."""

_LAYOUT = Layout(
    version=1,
    # A power cut may cost the last ones, which are asked for again, never the file.
    pragmas=("journal_mode = WAL", "synchronous = NORMAL"),
    remedy="start the server again; what was always agreed to is asked for once more",
    schema="""
CREATE TABLE approvals (
    profile TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments TEXT NOT NULL,
    is_tainted INTEGER NOT NULL,
    given TEXT NOT NULL,
    PRIMARY KEY (profile, tool, arguments)
)
""",
)


@dataclass(frozen=True, slots=True)
class Approval:
    """`profile`: the path of its root file. `arguments`: the digest of just these. `is_tainted`:
    whoever agreed knew that content from elsewhere had been read."""

    profile: str
    tool: str
    arguments: str
    is_tainted: bool = False


class Approvals:
    """The approvals of one home. Callable from any thread; every method raises StoreError."""

    def __init__(self, database: Path | None) -> None:
        """Open `database`, or create it for this user only; None: in memory."""
        self._database = Database(database, _LAYOUT)

    def add(self, approval: Approval) -> None:
        """Keep it. What was agreed to knowingly stays so."""
        given = datetime.now(UTC).isoformat(timespec="microseconds")
        row = (approval.profile, approval.tool, approval.arguments, approval.is_tainted, given)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO approvals (profile, tool, arguments, is_tainted, given)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET given = excluded.given,"
                " is_tainted = max(is_tainted, excluded.is_tainted)",
                row,
            )
            connection.execute(
                "DELETE FROM approvals WHERE rowid NOT IN "
                "(SELECT rowid FROM approvals ORDER BY given DESC LIMIT ?)",
                (KEPT_APPROVALS,),
            )

    def holds(self, wanted: Approval) -> bool:
        """Whether this was agreed to. A tainted one only by whoever knew."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT is_tainted FROM approvals WHERE profile = ? AND tool = ? AND arguments = ?",
                (wanted.profile, wanted.tool, wanted.arguments),
            ).fetchone()
        return row is not None and (bool(row[0]) or not wanted.is_tainted)

    def list(self) -> list[Approval]:
        """Every one, the newest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT profile, tool, arguments, is_tainted FROM approvals ORDER BY given DESC"
            ).fetchall()
        return [Approval(profile, tool, digest, bool(it)) for profile, tool, digest, it in rows]

    def forget(self, profile: str | None = None, tool: str | None = None) -> int:
        """Forget those of a profile, of a tool, of a tool in a profile, or all; how many."""
        with self._database.transaction() as connection:
            deleted = connection.execute(
                "DELETE FROM approvals WHERE (:profile IS NULL OR profile = :profile)"
                " AND (:tool IS NULL OR tool = :tool)",
                {"profile": profile, "tool": tool},
            )
            return deleted.rowcount

    def close(self) -> None:
        self._database.close()
