"""The two endpoints that generate: a lease, its events, the answer. It knows no HTTP header."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from lmrun.api.generation import ended_early, require_sight
from lmrun.api.openai.answers.formats import (
    ChatFormat,
    CompletionFormat,
    Format,
    Stamp,
    Whole,
)
from lmrun.api.openai.chat_messages import locate_images
from lmrun.api.openai.choices import generate_choices
from lmrun.api.openai.convert import count_choices, to_prediction, to_raw_prompt, to_request
from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.api.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from lmrun.api.openai.validate import validate_request
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.chat.answer import Answer
from lmrun.chat.events import ChatEnd, Event, PromptProgress
from lmrun.chat.request import Prompt, Request
from lmrun.errors import RequestError
from lmrun.settings.prediction import PredictionConfig

_IMAGE = re.compile(r"images\[(\d+)\]")
"""How engines name an image of a prompt."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate, and how to write it."""

    model: str
    prompt: Prompt
    prediction: PredictionConfig
    choices: int
    make_format: Callable[[Instance], Format]
    structured_param: str = "structured"


def make_chat_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ChatRequest, call.json)
        prompt = to_request(request)
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
    format_type: Callable[[Stamp, bool, int], Format],
) -> ASGIApp:
    options = request.stream_options
    include_usage = options is not None and options.include_usage
    choices = count_choices(request)
    generation = Generation(
        request.model,
        prompt,
        to_prediction(request),
        choices,
        lambda instance: format_type(_make_stamp(prefix, instance), include_usage, choices),
        _name_structured(request),
    )
    if request.stream:
        return await open_stream(_stream(pool, generation))
    return JsonAnswer(await _fold(pool, generation))


def _name_structured(request: GenerationRequest) -> str:
    """The field that said what the answer must look like."""
    is_format = isinstance(request, ChatRequest) and request.response_format is not None
    return "response_format" if is_format else "structured"


def _make_stamp(prefix: str, instance: Instance) -> Stamp:
    return Stamp(
        f"{prefix}-{secrets.token_hex(12)}",
        int(time.time()),
        instance.spec.identifier,
        make_fingerprint(instance.spec, instance.info),
    )


async def _stream(pool: Pool, generation: Generation) -> AsyncGenerator[bytes, None]:
    """Chunks; the first comes with the generation's first event, of whatever kind."""
    async with _run(pool, generation) as (form, events):
        head = b"".join(map(form.start, range(generation.choices)))
        ends: dict[int, ChatEnd] = {}
        async for index, event in events:
            if isinstance(event, ChatEnd):
                ends[index] = event
                finish = head + form.finish(index, event.stop_reason)
                if len(ends) == generation.choices:
                    yield finish + form.end([ends[index] for index in sorted(ends)])
                    return
                yield finish
            elif not isinstance(event, PromptProgress):
                yield head + form.delta(index, event)
            elif head:
                yield head
            head = b""
    raise ended_early()


async def _fold(pool: Pool, generation: Generation) -> bytes:
    """The same events, as one body."""
    answers = [Answer() for _ in range(generation.choices)]
    async with _run(pool, generation) as (form, events):
        async for index, event in events:
            answers[index].take(event)
        choices = [Whole(answer, answer.end) for answer in answers if answer.end is not None]
        if len(choices) < generation.choices:
            raise ended_early()
        return form.whole(choices)


@asynccontextmanager
async def _run(
    pool: Pool, generation: Generation
) -> AsyncIterator[tuple[Format, AsyncGenerator[tuple[int, Event], None]]]:
    """A format, and the events of all choices, while the lease is held."""
    prompt = generation.prompt
    async with _in_terms_of(generation), pool.acquire(generation.model) as lease:
        require_sight(lease.instance, prompt)
        form = generation.make_format(lease.instance)
        events = generate_choices(lease, prompt, generation.prediction, generation.choices)
        async with aclosing(events):
            yield form, events


@asynccontextmanager
async def _in_terms_of(generation: Generation) -> AsyncIterator[None]:
    """Errors name the field that their subject came in: for a conversation's prompt, `messages`,
    or the place of the image; for the form of the answer, how it was asked for."""
    try:
        yield
    except RequestError as error:
        if error.param is not None:
            error.param = _to_field(generation, error.param)
        raise


def _to_field(generation: Generation, param: str) -> str:
    if param == "structured":
        return generation.structured_param
    if not isinstance(generation.prompt, Request):
        return param
    if image := _IMAGE.fullmatch(param):
        return locate_images(generation.prompt.messages)[int(image[1])]
    return "messages" if param == "prompt" else param
