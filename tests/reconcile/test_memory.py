"""The estimate against the measurement, as status shows them."""

from __future__ import annotations

import pytest

from lmrun.engines.base import EngineUsage
from lmrun.reconcile.reporting.memory import judge_memory
from lmrun.reconcile.status import MemoryStatus
from lmrun.runtime.process.memory import ProcessMemory

MEASURED = ProcessMemory(anonymous=60, mapped=50)


@pytest.mark.parametrize(
    ("estimated", "measured", "usage", "shown"),
    [
        (100, MEASURED, None, MemoryStatus(100, 60, 50, 0.1)),
        (100, MEASURED, EngineUsage(prefix_cache_bytes=30), MemoryStatus(100, 60, 50, -0.2)),
        (None, MEASURED, None, MemoryStatus(None, 60, 50, None)),
        (0, MEASURED, None, MemoryStatus(0, 60, 50, None)),
        (100, None, None, MemoryStatus(100, None, None, None)),
    ],
    ids=["over", "with parked prefixes", "no estimate", "nothing estimated", "not measured"],
)
def test_the_error_is_what_was_not_foreseen(
    estimated: int | None,
    measured: ProcessMemory | None,
    usage: EngineUsage | None,
    shown: MemoryStatus,
) -> None:
    assert judge_memory(estimated, measured, usage) == shown
