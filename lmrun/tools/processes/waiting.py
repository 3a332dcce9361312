"""Waiting for an end that must come, whoever loses patience. It knows no process."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def outlast(work: asyncio.Future[T]) -> T:
    """The outcome of `work`, which goes on also when whoever waits is cancelled; the cancellation
    is raised afterwards."""
    was_cancelled = False
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            was_cancelled = True
        except BaseException:
            break
    if was_cancelled:
        if not work.cancelled():
            work.exception()  # looked at: nobody else will
        raise asyncio.CancelledError
    return work.result()
