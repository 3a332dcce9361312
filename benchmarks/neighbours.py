"""How much of the machine others take while something is measured. Linux only: elsewhere, none.

Two spinning threads of somebody else's slow a decode on two cores not by half but tenfold, so a
disturbed repeat says nothing about anybody.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

QUIET_SHARE = 0.05
LOOK_S, PATIENCE_S = 0.2, 10.0
_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)
"""Columns of /proc/stat, proc(5): idle and iowait."""


class Stopwatch:
    """Started when it is made."""

    def __init__(self) -> None:
        self._busy_s, self._own_s = read_busy_s(), read_own_s()
        self._begun = time.monotonic()

    def read_foreign_share(self) -> float:
        """The share of all cores' time that went to processes that are not ours, 0 to 1."""
        elapsed = (time.monotonic() - self._begun) * (os.cpu_count() or 1)
        foreign = (read_busy_s() - self._busy_s) - (read_own_s() - self._own_s)
        return min(max(foreign / elapsed, 0.0), 1.0) if elapsed else 0.0


async def wait_until_quiet() -> None:
    """Returns when others have been quiet for a moment, or after ten seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        stopwatch = Stopwatch()
        await asyncio.sleep(LOOK_S)
        if stopwatch.read_foreign_share() <= QUIET_SHARE:
            return


def read_busy_s() -> float:
    """Seconds that all cores together have worked since the machine started."""
    try:
        columns = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    return sum(int(it) for at, it in enumerate(columns) if at not in _IDLE) / _TICKS_PER_S


def read_own_s() -> float:
    """Seconds that this process, its living descendants and those it has waited for have worked."""
    facts = {int(path.name): _read_process(path) for path in _PROC.glob("[0-9]*")}
    parents = {pid: parent for pid, (parent, _) in facts.items()}
    me = os.getpid()
    return sum(work for pid, (_, work) in facts.items() if _descends(pid, me, parents))


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid not in (0, ancestor):
        pid = parents.get(pid, 0)
    return pid == ancestor


def _read_process(path: Path) -> tuple[int, float]:
    """Parent and seconds of work, of children waited for too; zeros when it has just ended."""
    try:
        columns = (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(columns[1]), sum(int(it) for it in columns[11:15]) / _TICKS_PER_S
