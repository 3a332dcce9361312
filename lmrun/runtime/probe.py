"""Whether a loaded instance really works: one token, one vector or one score. It knows no lease."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from lmrun.chat.events import ChatEnd
from lmrun.chat.messages import RawPrompt
from lmrun.engines.base import ModelInfo
from lmrun.errors import EngineError
from lmrun.runtime.supervisor import Supervisor
from lmrun.settings.prediction import PredictionConfig

PROBE_TEXT = "Hello"
PROBE_TIMEOUT_S = 60.0


async def probe(supervisor: Supervisor) -> None:
    """Ask an instance that is ready for the least that it can answer.

    Raises what the instance raises, and EngineError when no answer comes within a minute.
    """
    info = supervisor.instance.info
    assert info is not None, "it is ready"
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await _ask(supervisor, info)
    except TimeoutError:
        raise EngineError(f"It gave no answer within {PROBE_TIMEOUT_S:.0f} s.") from None


async def _ask(supervisor: Supervisor, info: ModelInfo) -> None:
    if info.pooling == "rank":
        await supervisor.score(PROBE_TEXT, [PROBE_TEXT])
    elif info.type == "embedding":
        await supervisor.embed([PROBE_TEXT])
    else:
        await _generate(supervisor)


async def _generate(supervisor: Supervisor) -> None:
    prediction = PredictionConfig(max_tokens=1, temperature=0)
    async with aclosing(supervisor.generate(RawPrompt(PROBE_TEXT), prediction)) as events:
        async for event in events:
            if isinstance(event, ChatEnd):
                return
