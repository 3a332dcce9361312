"""The limit under a random load of models that really hold what they say; `make memory` does it for
ten minutes."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmrun.catalog.catalog import Catalog
from lmrun.reconcile.estimates import Estimates
from lmrun.runtime.process.memory import read_memory
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.residency import Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.store.home import Home
from lmrun.store.measurements import Measurements
from tests.runtime.residency.stage import Stage, opened
from tests.support.instances import ask, script, text_of

MIB = 2**20
LIMIT = 640 * MIB
SIZES_MIB = (5, 20, 40, 80, 120, 200, 300)
CLIENTS = 6
SECONDS = 60 * float(os.environ.get("LMRUN_MEMORY_MINUTES", "0.15"))

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="reads what processes hold from Linux's /proc"
)


@dataclass
class RealStage(Stage):
    """Sizes by lmrun's own estimates and measurements."""

    estimates: Estimates = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.estimates = Estimates(Catalog(Home(self.folder)), Measurements(None))
        self.keeper.ledger = self.estimates

    async def estimate(self, spec: InstanceSpec) -> Claim:
        return await self.estimates.claim(spec)


def find_children() -> set[int]:
    """Workers that this process has started, whatever state they are in."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if is_worker(pid)}


def is_worker(pid: int) -> bool:
    """Not so between fork and exec, when a process still shows its parent's memory."""
    try:
        return b"lmrun.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def measure(pids: set[int]) -> int:
    """Bytes that these hold together; pages that they share count for each of them."""
    return sum(sum(held) for pid in pids if (held := read_memory(pid)) is not None)


@linux_only
@pytest.mark.timeout(SECONDS + 60)
def test_the_limit_is_never_exceeded(tmp_path: Path) -> None:
    async def body() -> None:
        stage = RealStage(tmp_path, limit=LIMIT)
        dice = random.Random(7)
        for number, size in enumerate(SIZES_MIB):
            reply = {"pieces": ["tick "], "repeat": 20, "seconds_per_token": 0.002}
            content = script(reply, load={"memory_bytes": size * MIB})
            stage.add(f"m{number}", content=content, residency=Residency("jit", ttl_s=1.0))
        before = find_children()
        peak = answers = 0
        end = time.monotonic() + SECONDS

        async def watch() -> None:
            nonlocal peak
            while True:
                held = await asyncio.to_thread(lambda: measure(find_children() - before))
                peak = max(peak, held)
                stage.now_s = time.monotonic()
                await asyncio.sleep(0.005)

        async def use() -> None:
            nonlocal answers
            while time.monotonic() < end:
                name = f"m{dice.randrange(len(SIZES_MIB))}"
                events = await ask(stage.pool, name, "hi", max_tokens=dice.randint(1, 20))
                assert text_of(events).startswith("tick ")
                answers += 1
                await asyncio.sleep(dice.random() * 0.05)

        async with opened(stage):
            keeping = asyncio.create_task(stage.keeper.run())
            watching = asyncio.create_task(watch())
            await asyncio.gather(*(use() for _ in range(CLIENTS)))
            keeping.cancel()
            watching.cancel()
            await asyncio.wait({keeping, watching})
        print(f"{answers} answers, {len(stage.loads)} loads, at most {peak / MIB:.0f} MiB")
        assert peak <= LIMIT
        # Much of the room was used, and models had to leave for each other.
        assert peak > LIMIT * 0.6
        assert len(stage.loads) > len(SIZES_MIB)

    asyncio.run(body())
