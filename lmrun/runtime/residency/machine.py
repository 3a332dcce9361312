"""How much memory this process may count on. It reads the system and decides nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def read_total_bytes() -> int:
    """The machine's RAM, or what this process's cgroups allow where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in _limit_files() if (limit := _read_limit(file)) is not None]
    return min([physical, *limits])


def _limit_files() -> Iterable[Path]:
    """Those of this process's memory cgroup and of all above it, in both versions of cgroups."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        folder = root / path.lstrip("/")
        yield from (each / name for each in (folder, *folder.parents) if each.is_relative_to(root))


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def to_bytes(limit: float | int, total_bytes: int) -> int:
    """A share of the total as float, bytes as they are."""
    return int(limit * total_bytes) if isinstance(limit, float) else limit
