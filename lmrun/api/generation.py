"""One generation on behalf of a request, whatever the dialect: a lease, its events, their end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from lmrun.api.serving import Instance, Pool
from lmrun.chat.answer import Answer
from lmrun.chat.events import ChatEnd, Event
from lmrun.chat.request import Prompt, Request
from lmrun.errors import EngineError, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig


@asynccontextmanager
async def open_generation(
    pool: Pool, model: str, prompt: Prompt, prediction: PredictionConfig
) -> AsyncIterator[tuple[Instance, AsyncGenerator[Event, None]]]:
    """The instance that answers and its events, while a lease is held. Leaving cancels.

    Raises what the pool and the lease raise, and UnsupportedParameter for an image that the model
    cannot see, with `images[3]` as `param`.
    """
    async with pool.acquire(model) as lease:
        require_sight(lease.instance, prompt)
        async with aclosing(lease.generate(prompt, prediction)) as events:
            yield lease.instance, events


async def generate_whole(
    pool: Pool, model: str, prompt: Prompt, prediction: PredictionConfig
) -> tuple[Instance, Answer, ChatEnd]:
    """The whole answer at once. Raises what `open_generation` and its events raise."""
    answer = Answer()
    async with open_generation(pool, model, prompt, prediction) as (instance, events):
        async for event in events:
            answer.take(event)
    if answer.end is None:
        raise ended_early()
    return instance, answer, answer.end


def require_sight(instance: Instance, prompt: Prompt) -> None:
    """Raises UnsupportedParameter before any image goes on its way to a model that takes none."""
    info = instance.info
    if not isinstance(prompt, Request) or info is None or info.accepts_images:
        return
    if prompt.images:
        raise UnsupportedParameter(
            f"The model {instance.spec.identifier!r} takes no images: it was loaded without "
            "vision.",
            param="images[0]",
            hint="Load it with `load.mmproj`, the projector published with it, or name a model "
            "that has one.",
        )


def ended_early() -> EngineError:
    """A generation whose events stopped without a ChatEnd: a bug of ours."""
    return EngineError("The generation ended without saying why.")
