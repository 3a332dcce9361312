"""Those who follow what the reconciler does, each with a queue of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from lmrun.reconcile.outcome import ApplyEvent


class Followers:
    """Events reach everyone who subscribed before they were told."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[ApplyEvent]] = set()

    def tell(self, event: ApplyEvent) -> None:
        for queue in self._queues:
            queue.put_nowait(event)

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[ApplyEvent]]:
        """A queue of events for as long as the block runs."""
        queue: asyncio.Queue[ApplyEvent] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)
