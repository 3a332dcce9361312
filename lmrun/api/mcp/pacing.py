"""From a tool that tells how far it is to a client that may read slowly. It knows neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from lmrun.tools.tool import OnProgress, ToolProgress


@asynccontextmanager
async def telling(send: Callable[[ToolProgress], Awaitable[None]]) -> AsyncIterator[OnProgress]:
    """Whoever is given this tells at once and does not wait; of what comes while the client still
    reads, it hears the newest."""
    newest: list[ToolProgress] = []
    came = asyncio.Event()

    def tell(progress: ToolProgress) -> None:
        newest[:] = [progress]
        came.set()

    async def pass_on() -> None:
        while True:
            await came.wait()
            came.clear()
            await send(newest[0])

    task = asyncio.create_task(pass_on())
    try:
        yield tell
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            # A client that is gone is noticed elsewhere; its progress is not worth a failure.
            task.exception()
