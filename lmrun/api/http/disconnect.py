"""Work that ends when its client leaves. It knows no route and no model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import Receive


@dataclass(slots=True)
class _Presence:
    has_left: bool = False


_client: ContextVar[_Presence] = ContextVar("lmrun_presence", default=_Presence())  # noqa: B039


def has_left() -> bool:
    """Whether the client has left for whom this task works."""
    return _client.get().has_left


async def run_while_connected(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` in this task; when the client disconnects, cancel it and return.

    The request's body must have been read. Cancelling happens once, at the point where `work`
    waits, so its clean-up may await.
    """
    task = asyncio.current_task()
    assert task is not None
    client = _Presence()
    token = _client.set(client)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        client.has_left = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await work()
    except asyncio.CancelledError:
        if not client.has_left or task.uncancel() > 0:
            raise
    finally:
        watcher.cancel()
        _client.reset(token)
