"""LMRUN_HOME: where everything that outlives a process lies. It knows no file's content."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import StoreError
from lmrun.store.failures import storing

MAX_SOCKET_PATH_BYTES = 100
"""AF_UNIX addresses end at 108 bytes on Linux and 104 on macOS."""

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Home:
    """The directory `root` (absolute) and the names below it."""

    root: Path

    @property
    def control_socket(self) -> Path:
        """The control API's socket; for a long `root` in a private directory under /tmp instead.

        /tmp and not $TMPDIR: server and client must agree on it whatever their environment.
        """
        socket = self.root / "control.sock"
        if len(os.fsencode(socket)) <= MAX_SOCKET_PATH_BYTES:
            return socket
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(f"/tmp/lmrun-{os.getuid()}") / f"{digest}.sock"

    @property
    def database(self) -> Path:
        return self.root / "lmrun.db"

    @property
    def conversations(self) -> Path:
        """What clients asked and were answered, where they may come back to it.

        A file of its own: it is large, changes often, and can be thrown away.
        """
        return self.root / "conversations.db"

    @property
    def runs(self) -> Path:
        """What agents were asked to do, and each step of it."""
        return self.root / "runs.db"

    @property
    def measurements(self) -> Path:
        """What loads have cost so far; can be thrown away, too."""
        return self.root / "measurements.db"

    @property
    def models(self) -> Path:
        """Model files, as `<publisher>/<model>/<file>`."""
        return self.root / "models"

    @property
    def downloads(self) -> Path:
        """What is being fetched; nothing in here is ever loaded.

        Below `models`, which may be a link to a larger disk: a rename cannot cross disks.
        """
        return self.models / ".downloads"

    @property
    def catalog_index(self) -> Path:
        return self.root / "catalog.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def server_log(self) -> Path:
        return self.logs / "server.log"

    @property
    def audit_log(self) -> Path:
        """Who had which tool called, and what was decided."""
        return self.logs / "audit.jsonl"

    @property
    def approvals(self) -> Path:
        """Calls of tools that somebody has agreed to for good."""
        return self.root / "approvals.db"

    @property
    def prefixes(self) -> Path:
        """Prefixes that were computed once, a folder for each instance."""
        return self.root / "cache" / "prefixes"

    @property
    def prefix_key(self) -> Path:
        """The secret that signs them."""
        return self.root / "prefix.key"

    @property
    def git(self) -> Path:
        """The repository that a server follows: its copy, its commits, what is known of them."""
        return self.root / "git"

    @property
    def mcp_pins(self) -> Path:
        """What somebody agreed to about MCP servers; moved away, everything has to be agreed to
        again."""
        return self.root / "mcp_pins.db"

    @property
    def mcp_secrets(self) -> Path:
        """Credentials for remote MCP servers, a file for each."""
        return self.root / "secrets" / "mcp"

    @property
    def lock_file(self) -> Path:
        return self.root / "server.lock"

    def ensure(self) -> None:
        """Create the directories, for this user only.

        Raises StoreError when that is impossible, or when other users may write here: whoever can
        replace the control socket or the database decides which processes start.
        """
        for folder in (self.root, self.models, self.downloads, self.logs):
            _make_private(folder)
        if self.control_socket.parent != self.root:
            _make_private(self.control_socket.parent)


def find_home(environment: Mapping[str, str]) -> Home:
    """`$LMRUN_HOME`, else `~/.lmrun`; an empty variable counts as unset."""
    chosen = environment.get("LMRUN_HOME") or os.path.join(
        environment.get("HOME") or Path.home(), ".lmrun"
    )
    return Home(Path(os.path.abspath(os.path.expanduser(chosen))))


def find_user() -> str:
    """The name of the user whose process this is, or its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _make_private(folder: Path) -> None:
    with storing(folder, "create"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with storing(folder, "look into"):
        found = folder.stat()
    if found.st_uid != os.getuid():
        raise StoreError(
            f"{folder} belongs to another user.",
            hint="Set LMRUN_HOME to a directory of your own.",
        )
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise StoreError(
            f"other users may write to {folder}.",
            hint=f"Run `chmod go-w {folder}`, or set LMRUN_HOME to a private directory.",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{folder} is not writable.",
            hint="Give your user access to it, or set LMRUN_HOME to a directory of your own.",
        )
