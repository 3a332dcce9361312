"""Credentials for remote MCP servers: one file each, for this user only. It knows no content."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from lmrun.errors import StoreError
from lmrun.store.atomic import write_atomic
from lmrun.store.failures import storing

MAX_BYTES = 256 * 2**10

_OTHERS = 0o077
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class McpSecrets:
    """The files below `folder`, by profile (the path of its root file) and server, so that no
    server ever gets what belongs to another. Callable from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, profile: str, server: str) -> Path:
        """Where the file is, or would be."""
        digest = hashlib.sha256(f"{profile}\0{server}".encode("utf-8", "surrogateescape"))
        return self._folder / f"{_NOT_IN_NAMES.sub('_', server)}-{digest.hexdigest()[:16]}.json"

    def read(self, profile: str, server: str) -> bytes | None:
        """None when there is none. Raises StoreError, also for a file that others may read."""
        where = self.path(profile, server)
        with storing(where, "read"):
            try:
                file = open(where, "rb")  # noqa: SIM115  closed below; only opening it may be in vain
            except FileNotFoundError:
                return None
            with file:
                if os.fstat(file.fileno()).st_mode & _OTHERS:
                    raise StoreError(
                        f"{where} may be read by other users.",
                        hint=f"Log in again after `rm {where}`; the credential in it is not safe.",
                    )
                return file.read(MAX_BYTES)

    def remove(self, profile: str, server: str) -> bool:
        """Whether there was one. Raises StoreError."""
        where = self.path(profile, server)
        with storing(where, "remove"):
            try:
                where.unlink()
            except FileNotFoundError:
                return False
        return True

    def write(self, profile: str, server: str, content: bytes) -> None:
        """Raises StoreError."""
        if len(content) > MAX_BYTES:
            raise StoreError(
                f"A credential of {len(content)} bytes cannot be kept; {MAX_BYTES} can be."
            )
        with storing(self._folder, "create"):
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self.path(profile, server), content)
