"""Runs scenarios: contenders started, repeats interleaved, contenders ended."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.answers import Refused
from benchmarks.contenders.bare import BareLoop
from benchmarks.contenders.base import (
    BARE,
    ENGINE,
    LLAMA_CPP_SERVER,
    LLAMA_SERVER,
    LLAMA_SERVER_UNIFIED,
    LMRUN,
    LMRUN_UNIFIED,
    Contender,
    Place,
)
from benchmarks.contenders.engine import Engine
from benchmarks.contenders.llama_cpp_server import LlamaCppServer
from benchmarks.contenders.llama_server import LlamaServer, UnifiedLlamaServer
from benchmarks.contenders.lmrun import LmrunServer, UnifiedLmrunServer
from benchmarks.neighbours import QUIET_SHARE, Stopwatch, wait_until_quiet
from benchmarks.results import Result, Values
from benchmarks.scenarios.base import Arena, Scenario

MAKERS: Mapping[str, Callable[[Place], Contender]] = {
    BARE: BareLoop,
    ENGINE: Engine,
    LMRUN: LmrunServer,
    LMRUN_UNIFIED: UnifiedLmrunServer,
    LLAMA_SERVER: LlamaServer,
    LLAMA_SERVER_UNIFIED: UnifiedLlamaServer,
    LLAMA_CPP_SERVER: LlamaCppServer,
}

MOST_TRIES = 2


class Repeat(NamedTuple):
    """What one repeat gave, and the share of the machine that others took meanwhile."""

    foreign_share: float
    values: Values


async def run(scenario: Scenario, model: Path, repeats: int, left_out: Collection[str]) -> Result:
    """All repeats of one scenario, without the contenders that are `left_out`."""
    names = [name for name in scenario.contenders if name not in left_out]
    kept: list[Repeat] = []
    unavailable = ""
    try:
        async with open_arena(scenario, model, names) as arena:
            kept = await repeat_quietly(scenario, arena, min(repeats, scenario.most_repeats))
    except Refused as error:
        unavailable = str(error)
    return Result(
        name=scenario.name,
        title=scenario.title,
        setup=str(scenario.setup),
        figures=scenario.figures,
        bars=scenario.bars,
        repeats=[repeat.values for repeat in kept],
        disturbance=max((repeat.foreign_share for repeat in kept), default=0.0),
        unavailable=unavailable,
    )


async def repeat_quietly(scenario: Scenario, arena: Arena, wanted: int) -> list[Repeat]:
    """The `wanted` least disturbed repeats out of up to `MOST_TRIES` times as many."""
    tried: list[Repeat] = []
    for number in range(MOST_TRIES * wanted):
        if sum(repeat.foreign_share <= QUIET_SHARE for repeat in tried) == wanted:
            break
        if scenario.starts_anew and tried:
            await arena.stop()
            await arena.start()
        await wait_until_quiet()
        stopwatch = Stopwatch()
        values = await scenario.measure(arena, number)
        tried.append(Repeat(stopwatch.read_foreign_share(), values))
    return sorted(tried, key=lambda repeat: repeat.foreign_share)[:wanted]


@asynccontextmanager
async def open_arena(scenario: Scenario, model: Path, names: list[str]) -> AsyncIterator[Arena]:
    """The contenders, started and warm; ended when the block is left."""
    folder = Path(tempfile.mkdtemp(prefix="lmrun-benchmark-"))
    arena = Arena([MAKERS[name](_make_place(scenario, model, folder / name)) for name in names])
    try:
        await arena.start()
        yield arena
    finally:
        await arena.stop()
        shutil.rmtree(folder)


def _make_place(scenario: Scenario, model: Path, folder: Path) -> Place:
    """A folder with a copy of the model: lmrun reads its file into huge pages, which whoever maps
    the same file would have, too."""
    folder.mkdir()
    return Place(Path(shutil.copy(model, folder)), scenario.setup, folder)
