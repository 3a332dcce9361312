"""What is known of the commits of a followed repository, across restarts: a small file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lmrun.settings.git_source import GitSource
from lmrun.store.atomic import write_atomic


class Refusal(msgspec.Struct, frozen=True):
    """A commit that is not applied, or not any more. `reason`: a CamelCase code."""

    commit: str
    reason: str
    message: str


class GitMemory(msgspec.Struct, frozen=True):
    """`applied`: the commit that was made the desired state last. `good`: the last one that
    converged and passed its checks. `refused`: the last that did not."""

    ref: str
    path: str
    applied: str | None = None
    good: str | None = None
    refused: Refusal | None = None


def read_memory(file: Path, source: GitSource) -> GitMemory:
    """What is known of this ref and path; nothing of it where the file is missing or damaged, or
    tells of others: then the newest commit is applied again."""
    fresh = GitMemory(source.ref, source.path)
    try:
        known = msgspec.json.decode(file.read_bytes(), type=GitMemory)
    except (OSError, msgspec.MsgspecError):
        return fresh
    return known if (known.ref, known.path) == (source.ref, source.path) else fresh


def write_memory(file: Path, memory: GitMemory) -> None:
    """Raises StoreError."""
    write_atomic(file, msgspec.json.encode(memory))
