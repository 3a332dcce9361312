"""The one thing that must be known of a script before it is loaded: how much memory it holds.

Whether the script is right is known to its engine alone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class _Load(msgspec.Struct, frozen=True):
    memory_bytes: int = 0


class _Script(msgspec.Struct, frozen=True):
    load: _Load = _Load()


def read_scripted_bytes(path: Path) -> int:
    """Bytes that the script at `path` holds once it is loaded; 0 where it does not say so."""
    try:
        return max(0, msgspec.json.decode(path.read_bytes(), type=_Script).load.memory_bytes)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        # Whoever loads it will say what is wrong with it.
        return 0
