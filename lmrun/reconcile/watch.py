"""Watching profile files: every change leads to one more look, however many writes it took."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles import Change, awatch

DEBOUNCE_MS = 200
LOOK_ANYWAY_MS = 5_000
"""A look without a notice: for file systems that send none, and for what changed in between."""


async def watch_files(files: Callable[[], frozenset[Path]]) -> AsyncIterator[None]:
    """Yield after a change of one of `files()`, deletion and re-creation included, and at least
    every five seconds. Editors replace files instead of writing them, so the directories are
    watched."""
    while True:
        watched = files()
        directories = {path.parent for path in watched if path.parent.is_dir()}

        def is_watched(change: Change, path: str, names: frozenset[Path] = watched) -> bool:
            return Path(path) in names

        async for _ in awatch(
            *directories,
            watch_filter=is_watched,
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_ANYWAY_MS,
            yield_on_timeout=True,
            recursive=False,
        ):
            yield None
            if files() != watched:
                break
