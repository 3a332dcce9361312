"""Work that ends when its client leaves. It knows no route and no model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive


async def run_while_connected(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` in this task; when the client disconnects, cancel it and return.

    The request's body must have been read. Cancelling happens once, at the point where `work`
    waits, so its clean-up may await.
    """
    task = asyncio.current_task()
    assert task is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await work()
    except asyncio.CancelledError:
        if not is_gone or task.uncancel() > 0:
            raise
    finally:
        watcher.cancel()
