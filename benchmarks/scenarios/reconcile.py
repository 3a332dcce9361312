"""What plans and looks cost with hundreds of models, none of which has to be touched."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.contenders.base import LMRUN, Setup
from benchmarks.many_models import still_house
from benchmarks.model import find_model
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario

FEW, MANY = 200, 1000
_LOOKS = 5


async def measure_reconcile(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    model = await find_model()
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            async with still_house(Path(folder), model, count) as house:
                started_s = time.perf_counter()
                plan = await house.plan()
                values[f"plan_{count}"] = 1000 * (time.perf_counter() - started_s)
                assert plan.is_empty
                looks = [await house.time_look() for _ in range(_LOOKS)]
                values[f"look_{count}"] = 1000 * min(looks)
    return values


RECONCILE = Scenario(
    name="reconcile",
    title="plans and looks with many models, nothing to do",
    setup=Setup(512, parallel=1),
    contenders=(LMRUN,),
    figures=(
        Figure(f"plan_{FEW}", f"lmrun, a plan of {FEW} models", "ms"),
        Figure(f"look_{FEW}", f"lmrun, a look at {FEW} models", "ms"),
        Figure(f"plan_{MANY}", f"lmrun, a plan of {MANY} models", "ms"),
        Figure(f"look_{MANY}", f"lmrun, a look at {MANY} models", "ms"),
    ),
    bars=(Bar(f"plan_{FEW}", at_most=300), Bar(f"look_{FEW}", at_most=100)),
    measure=measure_reconcile,
)
