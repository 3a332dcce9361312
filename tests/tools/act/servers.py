"""Runs as a server has them, for a while: with a store, and with scripted models and tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lmrun.chat.messages import Message
from lmrun.profile.schema import Profile
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.requests import ActRequest, RunState
from lmrun.tools.act.runs import Runs
from tests.tools.act.stand_ins import (
    ScriptedModel,
    ScriptedModels,
    StandInGate,
    StandInTool,
    StandInToolset,
    make_tool,
)

ADD = ("add", '{"a": 2, "b": 3}')
PROFILE = Profile.model_validate(
    {
        "version": 1,
        "models": {"m": {"source": "file:./m.gguf"}},
        "presets": {"p": {"system_prompt": "Be brief.", "prediction": {"temperature": 0.0}}},
        "tools": {it: {"command": ["true"]} for it in ("add", "t")},
        "agents": {"helper": {"model": "m", "preset": "p", "tools": ["add"], "max_rounds": 2}},
    }
)
SUM = ActRequest((Message("user", "2 + 3?"),), model="m", tools=("add",))


@asynccontextmanager
async def opened(
    model: ScriptedModel,
    *tools: StandInTool,
    home: Path | None = None,
    store: StoredRuns | None = None,
    find_profile: Callable[[], Profile] = lambda: PROFILE,
    **more: Any,
) -> AsyncIterator[Runs]:
    """Runs of one server process; nothing is left of it at its end."""
    store = store or StoredRuns(None if home is None else home / "runs.db")
    models = ScriptedModels(model)
    patterns: list[Sequence[str]] = []

    def toolset_for(wanted: Sequence[str]) -> StandInToolset:
        patterns.append(wanted)
        return StandInToolset([tools])

    runs = Runs(
        models, toolset_for, more.pop("gate", None) or StandInGate(), store, find_profile, **more
    )
    await runs.open()
    try:
        yield runs
    finally:
        await runs.close()
        store.close()
        assert models.held == 0
        assert model.open == 0


async def until_state(runs: Runs, id: str, state: RunState) -> None:
    for _ in range(2000):
        if (await runs.get(id)).summary.state == state:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"never {state}: {await runs.get(id)}")


class Held:
    """A tool that waits until it is let go."""

    def __init__(self, **spec: Any) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.tool = make_tool("t", self._work, **spec)

    async def _work(self, arguments: Mapping[str, Any]) -> str:
        self.begun.set()
        await self.go.wait()
        return "done"
