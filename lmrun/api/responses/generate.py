"""POST /v1/responses: a lease, its events, the answer, which is kept; and what a prompt costs.

It knows no HTTP header.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.types import ASGIApp

from lmrun.api.acting.workshop import Workshop
from lmrun.api.errors import ErrorBody, to_body
from lmrun.api.generation import ended_early, require_sight
from lmrun.api.responses.acting.kit import Workbench, open_workbench
from lmrun.api.responses.acting.output import ActOutput
from lmrun.api.responses.acting.run import Task, run_response
from lmrun.api.responses.answers.bodies import InputTokens
from lmrun.api.responses.answers.events import Error, StreamEvent, show
from lmrun.api.responses.answers.output import Numbers, Output
from lmrun.api.responses.answers.writer import Writer
from lmrun.api.responses.conversation import find_answered
from lmrun.api.responses.convert import locate_all_images, name_field, to_prediction, to_request
from lmrun.api.responses.echo import is_stored, make_body
from lmrun.api.responses.requests.bodies import InputTokensRequest, PromptRequest, ResponseRequest
from lmrun.api.responses.requests.items import Item, McpListItem
from lmrun.api.responses.requests.tools import find_servers
from lmrun.api.responses.turns import KIND, make_id, read_earlier, to_kept_items, to_turn
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Lease, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.api.validate import validate_request
from lmrun.chat.events import ChatEnd, Event
from lmrun.chat.request import Request
from lmrun.errors import InvalidParameter, LmrunError, RequestError
from lmrun.settings.prediction import PredictionConfig
from lmrun.store.conversations import Conversations
from lmrun.tools.act.events import ActEvent


@dataclass(frozen=True, slots=True)
class Means:
    """What answers are made with."""

    pool: Pool
    conversations: Conversations
    workshop: Workshop


@dataclass(frozen=True, slots=True)
class Plan:
    """What to generate. `json`: the request as it came; `items`: the whole conversation; `places`:
    the fields of its images."""

    request: ResponseRequest
    json: dict[str, Any]
    items: Sequence[Item]
    prompt: Request
    prediction: PredictionConfig
    places: Sequence[str]


def make_response_handler(means: Means) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ResponseRequest, call.json)
        prediction = to_prediction(request)
        items, prompt, places = await _make_prompt(means.conversations, request)
        plan = Plan(request, call.json, items, prompt, prediction, places)
        numbers = Numbers()
        if request.stream:

            def show_failure(body: ErrorBody) -> bytes:
                return show(
                    numbers.say(Error, message=body.message, code=body.code, param=body.param)
                )

            return await open_stream(_stream(means, plan, numbers), show_failure)
        return JsonAnswer(await _fold(means, plan, numbers))

    return answer


def make_input_tokens_handler(means: Means) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(InputTokensRequest, call.json)
        _, prompt, places = await _make_prompt(means.conversations, request)
        with _in_terms_of(places):
            async with (
                means.pool.acquire(request.model) as lease,
                _open_tools(means, request, prompt) as bench,
            ):
                require_sight(lease.instance, prompt)
                if bench is not None:
                    prompt = replace(prompt, tools=await bench.show(), tool_choice=bench.choice)
                return JsonAnswer(InputTokens(await lease.count_tokens(prompt)))

    return answer


async def _make_prompt(
    conversations: Conversations, request: PromptRequest
) -> tuple[Sequence[Item], Request, Sequence[str]]:
    """The whole conversation, as items and as a prompt, and the fields of its images."""
    earlier = await asyncio.to_thread(read_earlier, conversations, request.previous_response_id)
    items = (*earlier, *request.input)
    find_answered(items)
    return items, to_request(request, earlier), locate_all_images(request, earlier)


def _open_tools(
    means: Means, request: PromptRequest, prompt: Request
) -> AbstractAsyncContextManager[Workbench | None]:
    """The tools of a request that names MCP servers; None for any other."""
    servers = find_servers(request.tools or ())
    if not servers:
        return nullcontext()
    return open_workbench(means.workshop, servers, request, prompt)


async def _stream(means: Means, plan: Plan, numbers: Numbers) -> AsyncGenerator[bytes, None]:
    """The stream's bytes; the first come with the generation's first event, of whatever kind."""
    async with _run(means, plan, numbers) as (lease, writer, events):
        head = writer.start()
        try:
            async for event in events:
                if isinstance(event, ChatEnd):
                    pieces = writer.end_output(event)
                    last = await _complete(lease, writer, event, means.conversations, plan)
                    yield show(*head, *pieces, last)
                    return
                if pieces := [*head, *writer.take(event)]:
                    yield show(*pieces)
                head = []
            raise ended_early()
        except LmrunError as error:
            if head:
                raise
            yield show(writer.fail(to_body(error)))


async def _fold(means: Means, plan: Plan, numbers: Numbers) -> bytes:
    """The same events, as one body."""
    async with _run(means, plan, numbers) as (lease, writer, events):
        writer.start()
        async for event in events:
            if isinstance(event, ChatEnd):
                writer.end_output(event)
                await _complete(lease, writer, event, means.conversations, plan)
                return msgspec.json.encode(writer.body)
            writer.take(event)
    raise ended_early()


async def _complete(
    lease: Lease, writer: Writer, end: ChatEnd, conversations: Conversations, plan: Plan
) -> StreamEvent:
    """Count, and keep the response before anybody hears of its end: it may be continued at once."""
    reasoning_tokens = await _count_tokens(lease, writer.reasoning)
    last = writer.complete(end, reasoning_tokens, int(time.time()))
    if is_stored(plan.request):
        turn = to_turn(writer.body, to_kept_items(plan.json.get("input")))
        await asyncio.to_thread(conversations.add, KIND, turn)
    return last


async def _count_tokens(lease: Lease, text: str) -> int:
    if not text:
        return 0
    tokens = await lease.tokenize(text, add_special=False, parse_special=True, with_pieces=False)
    return len(tokens.ids)


@asynccontextmanager
async def _run(
    means: Means, plan: Plan, numbers: Numbers
) -> AsyncIterator[tuple[Lease, Writer, AsyncGenerator[Event | ActEvent, None]]]:
    """The lease while it is held, an empty response, and the generation's events."""
    with _in_terms_of(plan.places):
        async with (
            means.pool.acquire(plan.request.model, ttl_s=plan.request.ttl) as lease,
            _open_tools(means, plan.request, plan.prompt) as bench,
        ):
            require_sight(lease.instance, plan.prompt)
            spec = lease.instance.spec
            body = make_body(
                plan.request,
                plan.json,
                spec.prediction.overlay(plan.prediction),
                id=make_id("resp"),
                model=spec.identifier,
                created_at=int(time.time()),
            )
            output, events = _begin(means, plan, numbers, lease, bench)
            async with aclosing(events):
                yield lease, Writer(body, numbers, output), events


def _begin(
    means: Means, plan: Plan, numbers: Numbers, lease: Lease, bench: Workbench | None
) -> tuple[Output, AsyncGenerator[Event | ActEvent, None]]:
    """A generation, or with a server's tools a run. Raises InvalidParameter for approvals that fit
    no question, or come without the tools that they are about."""
    answered = find_answered(plan.items)
    if bench is None:
        if answered:
            raise InvalidParameter(
                "`tools`: a call has been answered, and its MCP server is not among them.",
                param="tools",
                hint="Send the tools of the response that asked.",
            )
        return Output(numbers, make_id), _widen(lease.generate(plan.prompt, plan.prediction))
    listed = {it.server_label for it in plan.items if isinstance(it, McpListItem)}
    output = ActOutput(numbers, make_id, bench.kit, bench.functions.keys(), listed, answered)
    task = Task(plan.prompt, plan.prediction, answered, plan.request.max_tool_calls)
    return output, _widen(run_response(means.workshop, lease, bench, task))


async def _widen(
    events: AsyncGenerator[Event, None] | AsyncGenerator[ActEvent | ChatEnd, None],
) -> AsyncGenerator[Event | ActEvent, None]:
    async with aclosing(events):
        async for event in events:
            yield event


@contextmanager
def _in_terms_of(places: Sequence[str]) -> Iterator[None]:
    """Errors name the field that their subject came in."""
    try:
        yield
    except RequestError as error:
        name_field(error, places)
        raise
