"""How long an answer may take in all. It knows no route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from starlette.types import Scope

from lmrun.api.errors import AnswerTimedOut

_DEADLINE = "lmrun.deadline"


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at`: the loop's time; None is never. `after_s`: how long after the request that is."""

    at: float | None = None
    after_s: float = 0.0


def set_deadline(scope: Scope, after_s: float | None) -> Deadline:
    """Now the time runs; without `after_s` there is no end to it."""
    deadline = Deadline()
    if after_s is not None:
        deadline = Deadline(asyncio.get_running_loop().time() + after_s, after_s)
    scope[_DEADLINE] = deadline
    return deadline


def deadline_of(scope: Scope) -> Deadline:
    return cast(Deadline, scope.get(_DEADLINE, Deadline()))


@asynccontextmanager
async def in_time(deadline: Deadline) -> AsyncIterator[None]:
    """Raises AnswerTimedOut when the block has not ended by then; it is cancelled."""
    timer = asyncio.timeout_at(deadline.at)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise AnswerTimedOut(
            f"The answer took longer than {deadline.after_s:g} s.",
            hint="The limit is server.limits.request_time in the profile.",
        ) from None
