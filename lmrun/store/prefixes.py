"""Where workers keep computed prefixes across their ends, and the key that signs them.

It knows neither models nor what a prefix holds.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from lmrun.store.atomic import write_atomic
from lmrun.store.failures import storing
from lmrun.store.home import Home

KEY_BYTES = 32
_OTHERS_MAY_READ = 0o077


class PrefixStore:
    """The private folders of one home; each is one owner's alone."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def open(self, owner: str) -> Path:
        """The folder of `owner`, made when it is not there. Raises StoreError."""
        folder = self._home.prefixes / hashlib.sha256(owner.encode()).hexdigest()[:24]
        with storing(folder, "create"):
            for each in (self._home.prefixes.parent, self._home.prefixes, folder):
                each.mkdir(mode=0o700, exist_ok=True)
                each.chmod(0o700)
        return folder

    def read_key(self) -> bytes:
        """This installation's secret; a new one when there is none, or others could have read it.

        What the old one signed is worthless then. Raises StoreError.
        """
        path = self._home.prefix_key
        with storing(path, "read"):
            key = _read_private(path)
        if key is None:
            key = secrets.token_bytes(KEY_BYTES)
            write_atomic(path, key)
        return key


def _read_private(path: Path) -> bytes | None:
    """The key, when it is one and was nobody else's to read."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            key = file.read(KEY_BYTES + 1)
    except FileNotFoundError:
        return None
    is_private = found.st_uid == os.getuid() and not found.st_mode & _OTHERS_MAY_READ
    return key if is_private and len(key) == KEY_BYTES else None
