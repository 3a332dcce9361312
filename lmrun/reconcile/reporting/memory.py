"""What was estimated against what is measured. Pure: it measures nothing itself."""

from __future__ import annotations

from lmrun.engines.base import EngineUsage
from lmrun.reconcile.status import MemoryStatus
from lmrun.runtime.process.memory import ProcessMemory


def judge_memory(
    estimated: int | None, measured: ProcessMemory | None, usage: EngineUsage | None
) -> MemoryStatus:
    """`estimated`: bytes without the prefix cache, which `usage` knows."""
    if measured is None:
        return MemoryStatus(estimated)
    if not estimated:
        return MemoryStatus(estimated, *measured)
    parked = usage.prefix_cache_bytes if usage is not None else 0
    taken = measured.anonymous + measured.mapped - parked
    return MemoryStatus(estimated, *measured, error=round(taken / estimated - 1, 3))
