"""The two endpoints that generate: a lease, its events, the answer. It knows no HTTP header."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from lmrun.api.openai.chunks import ChatFormat, CompletionFormat, Format, Stamp
from lmrun.api.openai.convert import (
    locate_image,
    to_conversation,
    to_prediction,
    to_raw_prompt,
)
from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.api.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from lmrun.api.openai.validate import validate_request
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.chat.events import ChatEnd, MessageDelta
from lmrun.chat.messages import Conversation, Prompt
from lmrun.errors import EngineError, RequestError, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig

_IMAGE = re.compile(r"images\[(\d+)\]")
"""How engines name an image of a prompt."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate, and how to write it."""

    model: str
    prompt: Prompt
    prediction: PredictionConfig
    make_format: Callable[[Instance], Format]


def make_chat_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ChatRequest, call.json)
        prompt = to_conversation(request)
        return await _answer(pool, request, prompt, "chatcmpl", ChatFormat)

    return answer


def make_completion_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(CompletionRequest, call.json)
        prompt = to_raw_prompt(request)
        return await _answer(pool, request, prompt, "cmpl", CompletionFormat)

    return answer


async def _answer(
    pool: Pool,
    request: GenerationRequest,
    prompt: Prompt,
    prefix: str,
    format_type: Callable[[Stamp, bool], Format],
) -> ASGIApp:
    options = request.stream_options
    include_usage = options is not None and options.include_usage
    generation = Generation(
        request.model,
        prompt,
        to_prediction(request),
        lambda instance: format_type(_make_stamp(prefix, instance), include_usage),
    )
    if request.stream:
        return await open_stream(_stream(pool, generation))
    return JsonAnswer(await _fold(pool, generation))


def _make_stamp(prefix: str, instance: Instance) -> Stamp:
    return Stamp(
        f"{prefix}-{secrets.token_hex(12)}",
        int(time.time()),
        instance.spec.identifier,
        make_fingerprint(instance.spec, instance.info),
    )


async def _stream(pool: Pool, generation: Generation) -> AsyncGenerator[bytes, None]:
    """Chunks; the first comes with the generation's first event, of whatever kind."""
    async with _in_terms_of(generation.prompt), pool.acquire(generation.model) as lease:
        _require_sight(lease.instance, generation.prompt)
        form = generation.make_format(lease.instance)
        head = form.start()
        async with aclosing(lease.generate(generation.prompt, generation.prediction)) as events:
            async for event in events:
                if isinstance(event, MessageDelta):
                    yield head + form.delta(event.text)
                    head = b""
                elif isinstance(event, ChatEnd):
                    yield head + form.end(event)
                    return
                elif head:
                    yield head
                    head = b""
    raise _ended_early()


async def _fold(pool: Pool, generation: Generation) -> bytes:
    """The same events, as one body."""
    parts: list[str] = []
    async with _in_terms_of(generation.prompt), pool.acquire(generation.model) as lease:
        _require_sight(lease.instance, generation.prompt)
        form = generation.make_format(lease.instance)
        async with aclosing(lease.generate(generation.prompt, generation.prediction)) as events:
            async for event in events:
                if isinstance(event, MessageDelta):
                    parts.append(event.text)
                elif isinstance(event, ChatEnd):
                    return form.whole("".join(parts), event)
    raise _ended_early()


@asynccontextmanager
async def _in_terms_of(prompt: Prompt) -> AsyncIterator[None]:
    """Errors about the prompt name the field it came in: for a conversation, `messages`, or the
    place of the image."""
    try:
        yield
    except RequestError as error:
        if isinstance(prompt, Conversation) and error.param is not None:
            error.param = _to_field(prompt, error.param)
        raise


def _to_field(prompt: Conversation, param: str) -> str:
    if image := _IMAGE.fullmatch(param):
        return locate_image(prompt, int(image[1]))
    return "messages" if param == "prompt" else param


def _require_sight(instance: Instance, prompt: Prompt) -> None:
    """Raises UnsupportedParameter before any image goes on its way to a model that takes none."""
    info = instance.info
    if not isinstance(prompt, Conversation) or info is None or info.accepts_images:
        return
    if prompt.images:
        raise UnsupportedParameter(
            f"The model {instance.spec.identifier!r} takes no images: it was loaded without "
            "vision.",
            param="images[0]",
            hint="Load it with `load.mmproj`, the projector published with it, or name a model "
            "that has one.",
        )


def _ended_early() -> EngineError:
    return EngineError("The generation ended without saying why.")
