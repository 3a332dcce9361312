"""The two endpoints that generate: a lease, its events, the answer. It knows no HTTP header."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from lmrun.api.extension import Extension
from lmrun.api.generation import ended_early, require_sight
from lmrun.api.openai.answers.bodies import to_usage
from lmrun.api.openai.answers.formats import (
    ChatFormat,
    CompletionFormat,
    Format,
    Stamp,
    Whole,
)
from lmrun.api.openai.choices import generate_choices
from lmrun.api.openai.completions import count_choices, make_selection, rate, to_raw_prompts
from lmrun.api.openai.convert import name_field, to_prediction, to_request
from lmrun.api.openai.extended import ExtendedFormat, note_all
from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.api.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.api.validate import validate_request
from lmrun.chat.answer import Answer
from lmrun.chat.events import ChatEnd, Event, PromptProgress
from lmrun.chat.request import Prompt
from lmrun.errors import RequestError
from lmrun.settings.prediction import PredictionConfig


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate, and how to write it. `choices`: how many answers to each prompt are
    generated; `select`: from all of them, in the prompts' order, to what is answered. `ttl_s`: how
    long the model may be idle if this loads it."""

    model: str
    prompts: tuple[Prompt, ...]
    prediction: PredictionConfig
    choices: int
    make_format: Callable[[Instance], Format]
    structured_param: str = "structured"
    select: Callable[[Sequence[Whole]], Sequence[Whole]] = lambda candidates: candidates
    extension: Extension | None = None
    ttl_s: float | None = None

    @property
    def total(self) -> int:
        """Generations of all prompts."""
        return len(self.prompts) * self.choices


def make_chat_handler(pool: Pool, extension: Extension | None = None) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ChatRequest, call.json)
        choices = request.n or 1
        generation = Generation(
            request.model,
            (to_request(request),),
            to_prediction(request),
            choices,
            _make_format(request, ChatFormat, "chatcmpl", choices),
            "structured" if request.response_format is None else "response_format",
            extension=extension,
            ttl_s=request.ttl,
        )
        return await _answer(pool, request, generation)

    return answer


def make_completion_handler(pool: Pool, extension: Extension | None = None) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(CompletionRequest, call.json)
        prompts = to_raw_prompts(request)
        choices = count_choices(request, len(prompts))
        generation = Generation(
            request.model,
            prompts,
            rate(to_prediction(request), choices),
            choices.generated,
            _make_format(request, CompletionFormat, "cmpl", len(prompts) * choices.wanted),
            select=make_selection(request, choices),
            extension=extension,
            ttl_s=request.ttl,
        )
        return await _answer(pool, request, generation)

    return answer


async def _answer(pool: Pool, request: GenerationRequest, generation: Generation) -> ASGIApp:
    if request.stream:
        return await open_stream(_stream(pool, generation))
    return JsonAnswer(await _fold(pool, generation))


def _make_format(
    request: GenerationRequest,
    kind: Callable[[Stamp, bool, int], Format],
    prefix: str,
    choices: int,
) -> Callable[[Instance], Format]:
    options = request.stream_options
    include_usage = options is not None and options.include_usage
    return lambda instance: kind(_make_stamp(prefix, instance), include_usage, choices)


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
        head = b"".join(map(form.start, range(generation.total)))
        ends: dict[int, ChatEnd] = {}
        async for index, event in events:
            if isinstance(event, ChatEnd):
                ends[index] = event
                finish = head + form.finish(index, event.stop_reason)
                if len(ends) == generation.total:
                    usages = [ends[index].usage for index in sorted(ends)]
                    yield finish + form.end(to_usage(usages, len(generation.prompts)))
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
    answers = [Answer() for _ in range(generation.total)]
    async with _run(pool, generation) as (form, events):
        async for index, event in events:
            answers[index].take(event)
        candidates = [Whole(answer, answer.end) for answer in answers if answer.end is not None]
        if len(candidates) < generation.total:
            raise ended_early()
        usages = [candidate.end.usage for candidate in candidates]
        usage = to_usage(usages, len(generation.prompts))
        return form.whole(generation.select(candidates), usage)


@asynccontextmanager
async def _run(
    pool: Pool, generation: Generation
) -> AsyncIterator[tuple[Format, AsyncGenerator[tuple[int, Event], None]]]:
    """A format, and the events of all choices, while the lease is held."""
    acquiring = pool.acquire(generation.model, ttl_s=generation.ttl_s)
    async with _in_terms_of(generation), acquiring as lease:
        for prompt in generation.prompts:
            require_sight(lease.instance, prompt)
        form = generation.make_format(lease.instance)
        events = generate_choices(
            lease, generation.prompts, generation.prediction, generation.choices
        )
        if generation.extension is not None:
            addition = await generation.extension.begin(lease.instance)
            form = ExtendedFormat(form, addition, generation.total)
            events = note_all(events, addition)
        async with aclosing(events):
            yield form, events


@asynccontextmanager
async def _in_terms_of(generation: Generation) -> AsyncIterator[None]:
    """Errors name the field that their subject came in; for the form of the answer, how it was
    asked for."""
    try:
        yield
    except RequestError as error:
        if error.param is not None:
            error.param = _to_field(generation, error.param)
        raise


def _to_field(generation: Generation, param: str) -> str:
    if param == "structured":
        return generation.structured_param
    return name_field(generation.prompts[0], param)
