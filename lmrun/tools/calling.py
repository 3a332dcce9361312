"""On whose behalf tools are called here: the run, however deep below it. It knows no tool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_run: ContextVar[str | None] = ContextVar("lmrun_run", default=None)


def current_run() -> str | None:
    """The run that this task works for; None outside of one."""
    return _run.get()


@contextmanager
def calling_for(run: str | None) -> Iterator[None]:
    """What the block does, it does for `run`, and so do the tasks that it starts."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)
