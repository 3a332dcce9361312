"""Scripted instances with real worker processes, for tests of what runs them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from lmrun.chat.events import ChatEnd, Event, MessageDelta
from lmrun.chat.messages import Message, RawPrompt
from lmrun.chat.request import Prompt, Request
from lmrun.runtime.observing import Observer
from lmrun.runtime.pool import Pool
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.timings import Timings
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

T = TypeVar("T")

QUICK = Timings(backoff_first_s=0.05, close_timeout_s=2.0, term_timeout_s=0.5)
"""Short waits. The limits of the crash loop are the real ones."""

ENDLESS: dict[str, Any] = {"pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.005}
"""A reply that goes on for longer than any test, at 200 tokens a second."""


def script(*replies: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A script with room for long replies."""
    return {"replies": list(replies), "context_length": 1_000_000, **fields}


def make_spec(
    folder: Path, content: Mapping[str, Any], *, identifier: str = "m", **fields: Any
) -> InstanceSpec:
    """Write a script to `folder` and describe an instance of it. `fields`: of InstanceSpec."""
    path = folder / f"{identifier}.scripted.json"
    path.write_text(json.dumps(content))
    return describe(path, identifier, engine="scripted", **fields)


def describe(path: Path, identifier: str = "m", **fields: Any) -> InstanceSpec:
    """An instance of a model file, of llama.cpp unless said otherwise."""
    stat = path.stat()
    given: dict[str, Any] = {"model_key": identifier, "load": LoadConfig(), "engine": "llama_cpp"}
    given |= fields
    return InstanceSpec(
        identifier=identifier,
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        **given,
    )


@asynccontextmanager
async def open_pool(
    *specs: InstanceSpec,
    timings: Timings = QUICK,
    queue_limit: int = 64,
    cores: int = 2,
    observer: Observer | None = None,
) -> AsyncIterator[Pool]:
    """A pool with `specs` loaded; nothing of it is left afterwards."""
    pool = Pool(
        cores=cores,
        queue_limit=lambda: queue_limit,
        on_change=lambda: None,
        timings=timings,
        observer=observer,
    )
    try:
        for spec in specs:
            await pool.load(spec, ignore_progress)
        yield pool
    finally:
        await pool.close()


def ignore_progress(fraction: float) -> None:
    """For whoever does not care how far a load is."""


def user(text: str) -> Request:
    """A conversation of one message."""
    return Request((Message(role="user", content=text),))


async def ask(pool: Pool, name: str, prompt: Prompt | str, **prediction: Any) -> list[Event]:
    """All events of a generation."""
    given = RawPrompt(prompt) if isinstance(prompt, str) else prompt
    async with pool.acquire(name) as lease:
        return [event async for event in lease.generate(given, PredictionConfig(**prediction))]


def text_of(events: list[Event]) -> str:
    """What was said."""
    return "".join(event.text for event in events if isinstance(event, MessageDelta))


def end_of(events: list[Event]) -> ChatEnd:
    """How it ended."""
    assert isinstance(events[-1], ChatEnd)
    return events[-1]


async def eventually(look: Callable[[], T | bool | None], *, within_s: float = 10.0) -> T:
    """The first truthy value of `look()`. Fails the test when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = look()
        if value:
            return value  # type: ignore[return-value]  # truthy: neither None nor False
        assert time.monotonic() < deadline, f"not within {within_s} s: {look}"
        await asyncio.sleep(0.005)
