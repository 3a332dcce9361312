"""Requests begin a few at a time, so that hundreds that arrive together leave the loop to others
in between. It knows no request."""

from __future__ import annotations

import asyncio
from collections import deque

PER_TURN = 4
"""A body takes about half a millisecond to be read and checked: others wait for two."""


class Pace:
    """At most `per_turn` begin in one turn of the event loop, first come, first served."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = per_turn
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_called = False

    async def begin(self) -> None:
        """Return when it is this one's turn."""
        if self._begun < self._per_turn and not self._waiting:
            self._begun += 1
            self._call()
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._call()
        await mine

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._begun, self._is_called = 0, False
        while self._waiting and self._begun < self._per_turn:
            first = self._waiting.popleft()
            if not first.done():  # else its request has been given up
                first.set_result(None)
                self._begun += 1
        if self._begun:
            self._call()
