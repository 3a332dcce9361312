"""Who is told what instances do for their leases: the interface, and the place where events pass.

It counts nothing and keeps nothing. What observes may neither wait nor fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from lmrun.chat.events import PromptText, WorkerEvent
from lmrun.runtime.spec import InstanceSpec

TAIL_CHARACTERS = 256
"""What whoever reads the answer gets to see of the prompt, however much was asked for."""


class Observation(Protocol):
    """One generation, from the moment it is asked for."""

    def note(self, event: WorkerEvent) -> None:
        """The next event, as the worker wrote it; a whole PromptText first, if it was wanted."""

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes. `error`: what ended it; with neither a ChatEnd before, its reader
        has left."""


class Observer(Protocol):
    """All instances."""

    @property
    def wants_prompts(self) -> bool:
        """Whether generations that begin now shall report their prompts; it costs a copy each."""

    def begin(self, spec: InstanceSpec, *, with_prompt: bool) -> Observation:
        """A generation begins. `with_prompt`: it reports its prompt, since that was wanted."""

    def count_input(self, spec: InstanceSpec, prompt_tokens: int) -> None:
        """Inputs of so many tokens were embedded or scored."""


class _Unobserved:
    def note(self, event: WorkerEvent) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        pass


class NoObserver:
    """Nobody is told anything."""

    wants_prompts = False

    def begin(self, spec: InstanceSpec, *, with_prompt: bool) -> Observation:
        return _Unobserved()

    def count_input(self, spec: InstanceSpec, prompt_tokens: int) -> None:
        pass


async def observe(
    events: AsyncGenerator[WorkerEvent, None], begin: Callable[[], Observation]
) -> AsyncGenerator[WorkerEvent, None]:
    """The same events, after an observation has seen them; it begins when the first one is asked
    for, as the generation does. Closing this closes `events`."""
    observation = begin()
    error: BaseException | None = None
    try:
        async with aclosing(events):
            async for event in events:
                observation.note(event)
                if isinstance(event, PromptText) and event.is_whole:
                    event = PromptText(event.text[-TAIL_CHARACTERS:], is_whole=False)
                yield event
    except (GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as failure:
        error = failure
        raise
    finally:
        observation.end(error)
