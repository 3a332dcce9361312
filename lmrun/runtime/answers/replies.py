"""An answer of a worker that comes in one frame."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from lmrun.errors import EngineError, LmrunError
from lmrun.worker.frames import Reply

ReplyT = TypeVar("ReplyT", bound=Reply)


class ReplyStream(Generic[ReplyT]):
    """Waits for one frame of the type `kind`."""

    def __init__(self, kind: type[ReplyT]) -> None:
        self._kind = kind
        self._done: asyncio.Future[ReplyT] = asyncio.get_running_loop().create_future()

    def push(self, reply: Reply) -> None:
        """Take the frame."""
        if not isinstance(reply, self._kind):
            self.fail(EngineError(f"The worker answered with {type(reply).__name__}."))
        elif not self._done.done():
            self._done.set_result(reply)

    def fail(self, error: LmrunError) -> None:
        """End it with an error."""
        if not self._done.done():
            self._done.set_exception(error)

    async def whole(self) -> ReplyT:
        """The answer. Raises the error that ended it."""
        return await self._done
